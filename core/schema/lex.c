/* lex.c - tokens over borrowed text. Invariant: see lex.h; every loop ends at the NUL.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/schema/lex.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tenon/abi_text.h>

/* <ctype.h> depends on the locale. */
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_lower(char c) { return (c >= 'a' && c <= 'z') || c == '_'; }
static bool is_word(char c) { return is_lower(c) || is_digit(c) || (c >= 'A' && c <= 'Z'); }

bool tni_lex_failf(tni_lex *l, const char *at, const char *format, ...) {
    if (l->at) return false;
    l->at = at;
    if (!l->why || l->capacity == 0) return false;
    int n = 0;
    if (!l->no_columns) n = snprintf(l->why, l->capacity, "column %td: ", at - l->text + 1);
    if (n < 0 || (uint64_t)n >= l->capacity) return false;
    va_list list;
    va_start(list, format);
    tn_vtext(l->why + n, l->capacity - (uint64_t)n, format, list);
    va_end(list);
    return false;
}

bool tni_lex_fail(tni_lex *l, const char *at, const char *expected) {
    int n = 0;
    while (n < 32 && is_word(at[n])) n++;
    const unsigned char c = (unsigned char)*at;
    if (c == 0) return tni_lex_failf(l, at, "expected %s, found the end", expected);
    if (n > 0) return tni_lex_failf(l, at, "expected %s, found '%.*s'", expected, n, at);
    if (c < 0x20 || c > 0x7e)
        return tni_lex_failf(l, at, "expected %s, found byte 0x%02x", expected, c);
    return tni_lex_failf(l, at, "expected %s, found '%c'", expected, c);
}

void tni_lex_skip(tni_lex *l) {
    while (*l->p == ' ' || *l->p == '\t' || *l->p == '\n' || *l->p == '\r') l->p++;
}

bool tni_lex_end(tni_lex *l) {
    tni_lex_skip(l);
    return *l->p == 0;
}

bool tni_lex_take(tni_lex *l, const char *token) {
    tni_lex_skip(l);
    const size_t n = strlen(token);
    if (strncmp(l->p, token, n) != 0) return false;
    l->p += n;
    return true;
}

bool tni_lex_need(tni_lex *l, const char *token) {
    if (tni_lex_take(l, token)) return true;
    char expected[16];
    snprintf(expected, sizeof expected, "'%s'", token);
    return tni_lex_fail(l, l->p, expected);
}

bool tni_lex_word(tni_lex *l, const char *word) {
    tni_lex_skip(l);
    const size_t n = strlen(word);
    if (strncmp(l->p, word, n) != 0 || is_word(l->p[n])) return false;
    l->p += n;
    return true;
}

bool tni_lex_name(tni_lex *l, char *out, uint64_t capacity, bool lower, const char *expected) {
    tni_lex_skip(l);
    const char *start = l->p;
    uint64_t n = 0;
    if (is_digit(*start)) return tni_lex_fail(l, start, expected);
    while (is_word(start[n]) && (!lower || is_lower(start[n]) || is_digit(start[n]))) n++;
    if (n == 0 || is_word(start[n])) return tni_lex_fail(l, start, expected);
    if (n >= capacity)
        return tni_lex_failf(l, start, "expected %s of at most %d characters, found %d", expected,
                             (int)capacity - 1, n > 9999 ? 9999 : (int)n);
    memcpy(out, start, n);
    out[n] = 0;
    l->p += n;
    return true;
}

static bool qualify(tni_lex *l, const char *sign, char *name, uint64_t capacity,
                    const char *expected) {
    const size_t n = strlen(name), m = strlen(sign);
    if (strncmp(l->p, sign, m) != 0) return true;
    if (n + m + 2 > capacity)
        return tni_lex_failf(l, l->p, "expected an op name of at most %d characters, found more",
                             (int)capacity - 1);
    l->p += m;
    memcpy(name + n, sign, m);
    return tni_lex_name(l, name + n + m, capacity - n - m, true, expected);
}

bool tni_lex_qualify(tni_lex *l, char *name, uint64_t capacity) {
    return qualify(l, "::", name, capacity, "an op name after '::'") &&
           qualify(l, ".", name, capacity, "an overload name after '.'");
}

bool tni_lex_at_number(tni_lex *l) {
    tni_lex_skip(l);
    const char *p = l->p + (*l->p == '-');
    if (is_digit(*p)) return true;
    return (strncmp(p, "inf", 3) == 0 || strncmp(p, "nan", 3) == 0) && !is_word(p[3]);
}

typedef struct decimal { /* +-mantissa * 10^exponent */
    uint64_t mantissa;
    int64_t exponent;
    bool negative, fraction, overflow;
} decimal;

static void scan_digits(tni_lex *l, decimal *d, int64_t step) {
    for (; is_digit(*l->p); l->p++, d->exponent += step) {
        const uint64_t digit = (uint64_t)(*l->p - '0');
        if (d->mantissa > (UINT64_MAX - digit) / 10) d->overflow = true;
        d->mantissa = d->mantissa * 10 + digit;
    }
}

static bool scan_decimal(tni_lex *l, decimal *d) {
    memset(d, 0, sizeof *d);
    d->negative = *l->p == '-';
    if (d->negative) l->p++;
    if (!is_digit(*l->p)) return tni_lex_fail(l, l->p, "a number");
    scan_digits(l, d, 0);
    if (l->p[0] == '.' && l->p[1] != '.') { /* "0..1" is a range */
        d->fraction = true;
        l->p++;
        scan_digits(l, d, -1);
    }
    if (*l->p != 'e' && *l->p != 'E') return true;
    d->fraction = true;
    l->p++;
    const bool negative = *l->p == '-';
    if (*l->p == '-' || *l->p == '+') l->p++;
    if (!is_digit(*l->p)) return tni_lex_fail(l, l->p, "an exponent");
    int64_t e = 0;
    for (; is_digit(*l->p); l->p++) e = e < 100000 ? e * 10 + (*l->p - '0') : e;
    d->exponent += negative ? -e : e;
    return true;
}

/* One exact operation on two exact doubles is correctly rounded. */
static bool decimal_float(const decimal *d, double *out) {
    double power = 1, value = (double)d->mantissa;
    if (d->mantissa > UINT64_C(1) << 53 || d->overflow) return false;
    if (d->mantissa != 0) {
        if (d->exponent < -22 || d->exponent > 22) return false;
        for (int64_t i = 0; i < d->exponent || i < -d->exponent; i++) power *= 10;
        value = d->exponent < 0 ? value / power : value * power;
    }
    *out = d->negative ? -value : value;
    return true;
}

static bool decimal_int(const decimal *d, int64_t *out) {
    const uint64_t limit = (uint64_t)INT64_MAX + d->negative;
    if (d->overflow || d->mantissa > limit) return false;
    *out = d->negative ? (int64_t)(0 - d->mantissa) : (int64_t)d->mantissa;
    return true;
}

bool tni_lex_number(tni_lex *l, tn_value *out) {
    tni_lex_skip(l);
    const char *start = l->p;
    const double sign = *start == '-' ? -1 : 1;
    const char *word = start + (*start == '-');
    *out = tn_value_none();
    if (tni_lex_at_number(l) && !is_digit(*word)) {
        *out = tn_float(sign * (*word == 'i' ? __builtin_inf() : __builtin_nan("")));
        l->p = word + 3;
        return true;
    }
    decimal d;
    if (!scan_decimal(l, &d)) return false;
    if (is_word(*l->p)) return tni_lex_fail(l, l->p, "the end of the number");
    double f = 0;
    int64_t i = 0;
    if (d.fraction ? !decimal_float(&d, &f) : !decimal_int(&d, &i))
        return tni_lex_failf(l, start, "expected a number that fits, found %.*s",
                             l->p - start > 40 ? 40 : (int)(l->p - start), start);
    *out = d.fraction ? tn_float(f) : tn_int(i);
    return true;
}

bool tni_lex_int(tni_lex *l, int64_t *out, const char *expected) {
    tni_lex_skip(l);
    const char *start = l->p;
    tn_value v;
    if (!tni_lex_at_number(l)) return tni_lex_fail(l, start, expected);
    if (!tni_lex_number(l, &v)) return false;
    if (v.tag != TN_TAG_INT) return tni_lex_fail(l, start, expected);
    *out = v.i;
    return true;
}

bool tni_lex_ints(tni_lex *l, int64_t *out, uint32_t capacity, uint32_t *n) {
    *n = 0;
    if (!tni_lex_need(l, "[")) return false;
    if (tni_lex_take(l, "]")) return true;
    do {
        if (*n == capacity)
            return tni_lex_failf(l, l->p, "expected at most %u numbers, found more", capacity);
        if (!tni_lex_int(l, &out[*n], "a whole number")) return false;
        ++*n;
    } while (tni_lex_take(l, ","));
    return tni_lex_need(l, "]");
}

bool tni_lex_bools(tni_lex *l, bool *out, uint32_t capacity, uint32_t *n) {
    *n = 0;
    if (!tni_lex_need(l, "[")) return false;
    if (tni_lex_take(l, "]")) return true;
    do {
        if (*n == capacity)
            return tni_lex_failf(l, l->p, "expected at most %u bools, found more", capacity);
        out[*n] = tni_lex_word(l, "true");
        if (!out[*n] && !tni_lex_word(l, "false")) return tni_lex_fail(l, l->p, "true or false");
        ++*n;
    } while (tni_lex_take(l, ","));
    return tni_lex_need(l, "]");
}

bool tni_lex_string(tni_lex *l, tn_value *out) {
    if (!tni_lex_need(l, "\"")) return false;
    const char *start = l->p;
    while (*l->p != '"') {
        const unsigned char c = (unsigned char)*l->p;
        if (c < 0x20 || c == '\\') return tni_lex_fail(l, l->p, "'\"' (no escapes, on one line)");
        l->p++;
    }
    if (l->p - start > 1000)
        return tni_lex_failf(l, start, "expected a string of at most 1000 bytes, found %td",
                             l->p - start);
    *out = tn_value_str(start, (uint32_t)(l->p - start));
    l->p++;
    return true;
}

bool tni_dtype_by_name(const char *name, tn_dtype *out) {
#define ROW(index, NAME, text, ctype, class_)                                                      \
    if (strcmp(name, text) == 0) return *out = TN_##NAME, true;
    TN_DTYPE_LIST(ROW)
#undef ROW
    return false;
}
