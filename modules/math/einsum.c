/* einsum.c - sums of products over named dims: einsum, tensordot.
 *
 * Every operand is a term, a tensor whose dims have labels. Terms are multiplied from left to
 * right, each pair as one batched matrix product; a label is summed as soon as nobody else has
 * it. Invariant: after settle, a term has every label at most once, and only in its full size:
 * dims of size 1 that would be broadcast are gone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

#include <stdio.h>
#include <string.h>

/* Letters in the order of an implicit output, then the dims of an ellipsis, the last one last. */
enum { LETTERS = 52, LABELS = LETTERS + TN_MAX_RANK };

typedef struct term {
    tn_tensor *t;
    int32_t n;
    int32_t labels[TN_MAX_RANK];
} term;

typedef struct spec {
    const char *at, *end; /* what is left of the equation */
    int32_t seen[LABELS]; /* how often operands name a label */
    int32_t uses[LABELS]; /* terms that have it, the output included */
    int64_t sizes[LABELS];
    int32_t ellipsis; /* dims of the longest */
    bool own_dtype;   /* sums of integers are not widened to i64 */
} spec;

/* ---- The equation ------------------------------------------------------------------------- */

static int32_t letter_label(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    return -1;
}

static char label_letter(int32_t label) {
    return (char)(label >= LETTERS ? '.' : label < 26 ? 'A' + label : 'a' + label - 26);
}

static char next(spec *s) {
    while (s->at < s->end && *s->at == ' ') s->at++;
    return s->at < s->end ? *s->at : 0;
}

static bool take_arrow(spec *s) {
    if (next(s) != '-' || s->end - s->at < 2 || s->at[1] != '>') return false;
    s->at += 2;
    return true;
}

static bool take_ellipsis(spec *s) {
    if (next(s) != '.' || s->end - s->at < 3 || memcmp(s->at, "...", 3) != 0) return false;
    s->at += 3;
    return true;
}

/* Subscripts up to a comma, arrow or the end. The ellipsis stands before labels[*ellipsis]; -1:
 * there is none. place: of an operand or the output, for texts. */
static bool parse_labels(spec *s, const char *place, int32_t *labels, int32_t *n,
                         int32_t *ellipsis) {
    const char *why = NULL;
    char c;

    *n = 0, *ellipsis = -1;
    while ((c = next(s)) != 0 && c != ',' && c != '-' && !why) {
        if (c == '.') {
            if (*ellipsis >= 0 || !take_ellipsis(s)) why = "is not part of its one ellipsis ...";
            *ellipsis = *n;
        } else if (letter_label(c) < 0) {
            why = "is no subscript: letters, spaces, ..., commas and -> are allowed";
        } else if (*n == TN_MAX_RANK) {
            why = "is one subscript more than a tensor can have dims";
        } else {
            labels[(*n)++] = letter_label(c), s->at++;
        }
        if (why) tnk_raise(TN_ERR_INVALID, "equation: '%c' in %s %s", c, place, why);
    }
    return !why;
}

/* x's labels from letters, with `dims` labels of the ellipsis before letters[ellipsis]. */
static void spread(term *x, const int32_t *letters, int32_t n, int32_t ellipsis, int32_t dims) {
    x->n = 0;
    for (int32_t i = 0; i <= n; i++) {
        for (int32_t k = 0; i == ellipsis && k < dims; k++) x->labels[x->n++] = LABELS - dims + k;
        if (i < n) x->labels[x->n++] = letters[i];
    }
}

static bool parse_operand(spec *s, int64_t operand, term *x) {
    int32_t letters[TN_MAX_RANK], n, ellipsis;
    char place[32];
    tn_meta m;

    snprintf(place, sizeof place, "operand %lld", (long long)operand);
    if (!tnk_meta(x->t, &m) || !parse_labels(s, place, letters, &n, &ellipsis)) return false;
    if (ellipsis < 0 ? n != m.rank : n > m.rank) {
        tnk_raise(TN_ERR_SHAPE, "equation: operand %lld has %d dims, but %d subscripts%s",
                  (long long)operand, (int)m.rank, (int)n, ellipsis < 0 ? "" : " and an ellipsis");
        return false;
    }
    if (m.rank - n > s->ellipsis) s->ellipsis = m.rank - n;
    spread(x, letters, n, ellipsis, m.rank - n);
    return true;
}

static bool spread_output(const spec *s, term *y, const int32_t *letters, int32_t n,
                          int32_t ellipsis) {
    const int32_t dims = ellipsis < 0 ? 0 : s->ellipsis;

    if (n + dims > TN_MAX_RANK) {
        tnk_raise(TN_ERR_SHAPE, "equation: the output would have %d dims, allowed are %d",
                  (int)(n + dims), TN_MAX_RANK);
        return false;
    }
    spread(y, letters, n, ellipsis, dims);
    return true;
}

/* The labels that operands name once, in alphabetical order, behind the ellipsis. */
static bool implicit_output(spec *s, term *y) {
    int32_t letters[LETTERS], n = 0;

    for (int32_t i = 0; i < LETTERS; i++)
        if (s->seen[i] == 1) letters[n++] = i;
    return spread_output(s, y, letters, n, 0);
}

/* Every label of the output stands there once and in an operand. */
static bool check_output(const spec *s, const int32_t *letters, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        bool twice = false;
        for (int32_t k = 0; k < i; k++) twice = twice || letters[k] == letters[i];
        if (!twice && s->seen[letters[i]]) continue;
        tnk_raise(TN_ERR_INVALID,
                  twice ? "equation: subscript '%c' stands twice in the output"
                        : "equation: subscript '%c' of the output is in no operand",
                  label_letter(letters[i]));
        return false;
    }
    return true;
}

static bool parse_output(spec *s, term *y) {
    int32_t letters[TN_MAX_RANK], n, ellipsis;

    if (next(s) == 0) return implicit_output(s, y);
    if (take_arrow(s)) {
        if (!parse_labels(s, "the output", letters, &n, &ellipsis)) return false;
        if (next(s) == 0)
            return check_output(s, letters, n) && spread_output(s, y, letters, n, ellipsis);
    }
    tnk_raise(TN_ERR_INVALID,
              "equation: '%c' is out of place: one -> and nothing behind the output", next(s));
    return false;
}

/* ---- Terms -------------------------------------------------------------------------------- */

static int32_t dim_of(const term *x, int32_t label) {
    for (int32_t i = 0; i < x->n; i++)
        if (x->labels[i] == label) return i;
    return -1;
}

static void count_uses(spec *s, const term *x, int32_t by) {
    for (int32_t i = 0; i < x->n; i++) s->uses[x->labels[i]] += by;
}

/* Puts the diagonal of dims i < k, of one label and size, last. */
static bool take_diagonal(term *x, int32_t i, int32_t k) {
    int64_t order[TN_MAX_RANK];
    int32_t n = 0;

    for (int32_t d = 0; d < x->n; d++)
        if (d != i && d != k) order[n++] = d;
    order[n] = i, order[n + 1] = k;
    const int32_t label = x->labels[i];
    for (int32_t d = 0; d < n; d++) x->labels[d] = x->labels[order[d]];
    x->t = math_diagonal(tn_permute(x->t, (tn_ints){order, x->n}));
    x->labels[n] = label, x->n = n + 1;
    return x->t != NULL;
}

/* The first pair of dims of one label. */
static bool find_twice(const term *x, int32_t *i, int32_t *k) {
    for (*k = 1; *k < x->n; ++*k)
        for (*i = 0; *i < *k; ++*i)
            if (x->labels[*i] == x->labels[*k]) return true;
    return false;
}

/* A label that stands twice in one operand means the diagonal. */
static bool take_diagonals(term *x, int64_t operand) {
    int32_t i, k;
    tn_meta m;

    while (find_twice(x, &i, &k)) {
        if (!tnk_meta(x->t, &m)) return false;
        if (m.sizes[i] != m.sizes[k]) {
            tnk_raise(TN_ERR_SHAPE,
                      "equation: subscript '%c' stands twice in operand %lld, but for sizes %lld "
                      "and %lld",
                      label_letter(x->labels[i]), (long long)operand, (long long)m.sizes[i],
                      (long long)m.sizes[k]);
            return false;
        }
        if (!take_diagonal(x, i, k)) return false;
    }
    return true;
}

/* Notes the sizes of x's labels; they must agree with those of other operands or be 1. */
static bool note_sizes(spec *s, const term *x, int64_t operand) {
    tn_meta m;

    if (!tnk_meta(x->t, &m)) return false;
    for (int32_t i = 0; i < x->n; i++) {
        int64_t *size = &s->sizes[x->labels[i]];
        if (*size == 1)
            *size = m.sizes[i];
        else if (m.sizes[i] != 1 && m.sizes[i] != *size) {
            tnk_raise(TN_ERR_SHAPE,
                      "equation: subscript '%c' has size %lld in operand %lld, but %lld before",
                      label_letter(x->labels[i]), (long long)m.sizes[i], (long long)operand,
                      (long long)*size);
            return false;
        }
    }
    return true;
}

/* Drops dims of size 1 whose label is larger elsewhere. */
static bool drop_ones(const spec *s, term *x) {
    tn_meta m;
    int32_t n = 0;

    if (!tnk_meta(x->t, &m)) return false;
    for (int32_t i = 0; i < x->n; i++) {
        if (m.sizes[i] == 1 && s->sizes[x->labels[i]] != 1) continue;
        m.sizes[n] = m.sizes[i], x->labels[n++] = x->labels[i];
    }
    if (n != x->n) x->t = math_reshape(x->t, m.sizes, n);
    x->n = n;
    return x->t != NULL;
}

/* All operands and the output are known: every term gets its invariant. */
static bool settle(spec *s, term *terms, uint32_t n, const term *y) {
    for (uint32_t i = 0; i < n; i++)
        if (!take_diagonals(&terms[i], i) || !note_sizes(s, &terms[i], i)) return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!drop_ones(s, &terms[i])) return false;
        count_uses(s, &terms[i], 1);
    }
    count_uses(s, y, 1);
    return true;
}

/* ---- Products ----------------------------------------------------------------------------- */

/* Sums x over the labels that nobody else has. As in PyTorch, einsum widens integers as sum does,
 * tensordot does not. */
static bool sum_unused(const spec *s, term *x, const term *other) {
    int64_t dims[TN_MAX_RANK];
    int32_t n = 0, kept = 0;
    tn_meta before, after;

    for (int32_t i = 0; i < x->n; i++) {
        const int32_t label = x->labels[i];
        if (s->uses[label] == 0 && (!other || dim_of(other, label) < 0))
            dims[n++] = i;
        else
            x->labels[kept++] = label;
    }
    x->n = kept;
    if (n == 0) return true;
    x->t = math_wide(x->t);
    if (!tnk_meta(x->t, &before)) return false;
    x->t = tn_sum_dim(x->t, (tn_ints){dims, n}, NULL);
    if (!tnk_meta(x->t, &after)) return false;
    if (s->own_dtype && !tn_dtype_is(before.dtype, after.dtype)) x->t = tn_to(x->t, before.dtype);
    return x->t != NULL;
}

typedef struct labels {
    int32_t n;
    int32_t labels[2 * TN_MAX_RANK];
} labels;

static void add(labels *l, int32_t label) { l->labels[l->n++] = label; }

static int64_t numel(const spec *s, const labels *l) {
    int64_t n = 1;
    for (int32_t i = 0; i < l->n; i++) n *= s->sizes[l->labels[i]];
    return n;
}

/* x with the dims of the three groups, in that order, each group made one dim. */
static tn_tensor *grouped(const spec *s, const term *x, const labels *const *groups) {
    int64_t dims[TN_MAX_RANK], sizes[3], n = 0;

    for (int32_t g = 0; g < 3; g++) {
        for (int32_t i = 0; i < groups[g]->n; i++) dims[n++] = dim_of(x, groups[g]->labels[i]);
        sizes[g] = numel(s, groups[g]);
    }
    return math_reshape(tn_permute(x->t, (tn_ints){dims, n}), sizes, 3);
}

/* a becomes a times b, summed over what only those two have. */
static bool multiply(spec *s, term *a, term *b) {
    labels batch = {0}, left = {0}, inner = {0}, right = {0};
    int64_t sizes[TN_MAX_RANK];

    count_uses(s, a, -1), count_uses(s, b, -1);
    if (!sum_unused(s, a, b) || !sum_unused(s, b, a)) return false;
    for (int32_t i = 0; i < a->n; i++) {
        const int32_t label = a->labels[i];
        add(dim_of(b, label) < 0 ? &left : s->uses[label] ? &batch : &inner, label);
    }
    for (int32_t i = 0; i < b->n; i++)
        if (dim_of(a, b->labels[i]) < 0) add(&right, b->labels[i]);
    if (batch.n + left.n + right.n > TN_MAX_RANK) {
        tnk_raise(TN_ERR_SHAPE, "a product on the way has %d dims, allowed are %d",
                  (int)(batch.n + left.n + right.n), TN_MAX_RANK);
        return false;
    }
    tn_tensor *x = grouped(s, a, (const labels *const[]){&batch, &left, &inner});
    tn_tensor *y = grouped(s, b, (const labels *const[]){&batch, &inner, &right});
    x = inner.n ? tn_gemm(x, y) : tn_mul(math_wide(x), math_wide(y));
    a->n = 0;
    for (int32_t i = 0; i < batch.n; i++) a->labels[a->n++] = batch.labels[i];
    for (int32_t i = 0; i < left.n; i++) a->labels[a->n++] = left.labels[i];
    for (int32_t i = 0; i < right.n; i++) a->labels[a->n++] = right.labels[i];
    for (int32_t i = 0; i < a->n; i++) sizes[i] = s->sizes[a->labels[i]];
    count_uses(s, a, 1);
    a->t = math_reshape(x, sizes, a->n);
    return a->t != NULL;
}

/* All terms as one product, in the order of y. */
static tn_tensor *product_of(spec *s, term *terms, uint32_t n, const term *y) {
    int64_t order[TN_MAX_RANK];

    if (!settle(s, terms, n, y)) return NULL;
    for (uint32_t i = 1; i < n; i++)
        if (!multiply(s, &terms[0], &terms[i])) return NULL;
    count_uses(s, &terms[0], -1);
    if (!sum_unused(s, &terms[0], NULL)) return NULL;
    for (int32_t i = 0; i < y->n; i++) order[i] = dim_of(&terms[0], y->labels[i]);
    return tn_permute(terms[0].t, (tn_ints){order, y->n});
}

static spec new_spec(void) {
    spec s = {0};
    for (int32_t i = 0; i < LABELS; i++) s.sizes[i] = 1;
    return s;
}

/* ---- The ops ------------------------------------------------------------------------------ */

static bool parse(spec *s, term *terms, uint32_t n, term *y) {
    for (uint32_t i = 0; i < n; i++) {
        if (!parse_operand(s, i, &terms[i])) return false;
        for (int32_t k = 0; k < terms[i].n; k++) s->seen[terms[i].labels[k]]++;
        if (i + 1 == n) break;
        if (next(s) != ',') {
            tnk_raise(TN_ERR_INVALID, "equation: it speaks of %u operands, but there are %u",
                      (unsigned)i + 1, (unsigned)n);
            return false;
        }
        s->at++;
    }
    if (next(s) != ',') return parse_output(s, y);
    tnk_raise(TN_ERR_INVALID, "equation: it speaks of more operands than the %u there are",
              (unsigned)n);
    return false;
}

/* 16-bit floats are rounded once, at the end: what is multiplied or summed again is f32. One
 * product of two operands is a matrix product in 16 bits. */
static tn_tensor *operand(tn_tensors list, uint32_t i) {
    return list.n > 2 ? math_wide(list.ptr[i]) : list.ptr[i];
}

static tn_tensor *in_dtype_of(tn_tensor *like, tn_tensor *t) {
    tn_meta m, have;

    if (!tnk_meta(like, &m) || !tnk_meta(t, &have)) return NULL;
    return have.dtype.bits == 32 && m.dtype.bits == 16 ? tn_to(t, m.dtype) : t;
}

tn_tensor *math_compose_einsum(tnk_text equation, tn_tensors operands) {
    const uint32_t n = (uint32_t)operands.n;
    spec s = new_spec();
    term y = {0};

    if (n == 0)
        return tnk_raise_null(TN_ERR_INVALID, "operands is empty: there must be at least one");
    term *terms = tn_plugin_host->alloc(tn_plugin_self, n * sizeof *terms);
    if (!terms) return tnk_raise_null(TN_ERR_NOMEM, "no memory for %u operands", (unsigned)n);
    for (uint32_t i = 0; i < n; i++) terms[i] = (term){.t = operand(operands, i)};
    s.at = equation.ptr, s.end = s.at + equation.n;
    tn_tensor *result = parse(&s, terms, n, &y) ? product_of(&s, terms, n, &y) : NULL;
    tn_plugin_host->free(tn_plugin_self, terms);
    return in_dtype_of(operands.ptr[0], result);
}

/* Dim i of a has label i, dim i of b has label TN_MAX_RANK + i, or that of its partner in a. */
static tn_tensor *contract(tn_tensor *a, tn_tensor *b, const int64_t *dims_a, const int64_t *dims_b,
                           int32_t n) {
    tn_meta a_meta, b_meta;
    spec s = new_spec();
    term terms[2] = {{.t = a}, {.t = b}}, y = {0};

    s.own_dtype = true;
    int32_t partner[TN_MAX_RANK];

    if (!tnk_meta(a, &a_meta) || !tnk_meta(b, &b_meta)) return NULL;
    if (a_meta.rank + b_meta.rank - 2 * n > TN_MAX_RANK)
        return tnk_raise_null(TN_ERR_SHAPE, "the result would have %d dims, allowed are %d",
                              (int)(a_meta.rank + b_meta.rank - 2 * n), TN_MAX_RANK);
    for (int32_t i = 0; i < b_meta.rank; i++) partner[i] = -1;
    for (int32_t i = 0; i < n; i++) {
        const int64_t size_a = a_meta.sizes[dims_a[i]], size_b = b_meta.sizes[dims_b[i]];
        if (size_a != size_b && size_a != 1 && size_b != 1)
            return tnk_raise_null(
                TN_ERR_SHAPE, "dim %lld of a has size %lld, but dim %lld of b has %lld",
                (long long)dims_a[i], (long long)size_a, (long long)dims_b[i], (long long)size_b);
        partner[dims_b[i]] = (int32_t)dims_a[i];
    }
    for (int32_t i = 0; i < a_meta.rank; i++) {
        bool free = true;
        for (int32_t k = 0; k < n; k++) free = free && dims_a[k] != i;
        terms[0].labels[terms[0].n++] = i;
        if (free) y.labels[y.n++] = i;
    }
    for (int32_t i = 0; i < b_meta.rank; i++) {
        const int32_t label = partner[i] < 0 ? TN_MAX_RANK + i : partner[i];
        terms[1].labels[terms[1].n++] = label;
        if (partner[i] < 0) y.labels[y.n++] = label;
    }
    return in_dtype_of(a, product_of(&s, terms, 2, &y));
}

tn_tensor *math_compose_tensordot(tn_tensor *a, tn_tensor *b, int64_t dims) {
    const int32_t n = (int32_t)dims;
    int64_t dims_a[TN_MAX_RANK], dims_b[TN_MAX_RANK];
    tn_meta a_meta, b_meta;

    if (!tnk_meta(a, &a_meta) || !tnk_meta(b, &b_meta)) return NULL;
    if (n > a_meta.rank || n > b_meta.rank)
        return tnk_raise_null(TN_ERR_SHAPE, "dims is %d, but a has rank %d and b %d", (int)n,
                              (int)a_meta.rank, (int)b_meta.rank);
    for (int32_t i = 0; i < n; i++) dims_a[i] = a_meta.rank - n + i, dims_b[i] = i;
    return contract(a, b, dims_a, dims_b, n);
}

tn_tensor *math_compose_tensordot_dims(tn_tensor *a, tn_tensor *b, tn_ints dims_a, tn_ints dims_b) {
    if (dims_a.n != dims_b.n)
        return tnk_raise_null(TN_ERR_INVALID,
                              "dims_a has %u dims, dims_b has %u: they come in pairs",
                              (unsigned)dims_a.n, (unsigned)dims_b.n);
    return contract(a, b, dims_a.ptr, dims_b.ptr, (int32_t)dims_a.n);
}
