/* request.c - parses the command line against the table; what does not fit is named, with what
 * would.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tools/command/command.h"
#include "tools/command/screen.h"
#include "tools/command/suggest.h"

enum { MOST_COMMON = 3 };

typedef struct parsing {
    int argc, at;
    char **argv;
    request *out;
    const char *common[MOST_COMMON]; /* values of common_options */
    const char *words[2];            /* verb and argument */
    int n_words;
    bool only_words; /* after "--" */
} parsing;

/* --plugin-path is kept behind the command's own values. */
const char *request_value(const request *r, const char *name) {
    int i = 0;
    for (; i < MOST_OPTIONS - 1 && r->command->options[i].name; i++)
        if (strcmp(r->command->options[i].name, name) == 0) return r->values[i];
    return strcmp(name, "plugin-path") == 0 ? r->values[MOST_OPTIONS - 1] : NULL;
}

/* ---- Commands and verbs ---------------------------------------------------------------------- */

static int unknown_command(const char *word) {
    suggestion s = suggest(word);
    for (const command *c = commands; c->name; c++) suggest_name(&s, c->name);
    return fail(EXIT_USAGE, "tenon has no command '%s'%s\n  see: tenon help", word,
                suggest_text(&s));
}

static int find_command(parsing *p, const char *word) {
    for (const command *c = commands; c->name; c++)
        if (strcmp(c->name, word) == 0) p->out->command = c;
    return p->out->command ? EXIT_OK : unknown_command(word);
}

static int unexpected(const parsing *p, const char *word) {
    const command *c = p->out->command;
    suggestion s = suggest(word);
    for (const form *f = c->forms; f->verb; f++) suggest_name(&s, f->verb);
    return fail(EXIT_USAGE, "tenon %s: '%s' does not belong here%s\n  see: tenon help %s", c->name,
                word, suggest_text(&s), c->name);
}

/* Which form is meant, and is its argument there? */
static int find_form(parsing *p) {
    const command *c = p->out->command;
    const form *f = c->forms;
    int at = 0;
    if (f->verb[0] && p->n_words > 0) {
        for (; f->verb && strcmp(f->verb, p->words[0]) != 0; f++) continue;
        if (!f->verb) return unexpected(p, p->words[0]);
        at = 1;
    }
    p->out->form = f;
    if (p->n_words > at + (f->argument != NULL)) return unexpected(p, p->words[p->n_words - 1]);
    if (p->n_words > at) p->out->argument = p->words[at];
    const bool missing = f->argument && f->argument[0] != '[' && !p->out->argument;
    if (!missing || p->out->help) return EXIT_OK;
    return fail(EXIT_USAGE, "tenon %s%s%s needs %s\n  see: tenon help %s", c->name,
                f->verb[0] ? " " : "", f->verb, f->argument, c->name);
}

/* ---- Options --------------------------------------------------------------------------------- */

/* Index in a list of the option that text spells (--name, --name=value, -letter), or -1. */
static int match(const option *list, int n, const char *text) {
    for (int i = 0; i < n && list[i].name; i++) {
        const size_t length = strlen(list[i].name);
        if (text[1] != '-' && list[i].letter && text[1] == list[i].letter && text[2] == 0) return i;
        if (text[1] == '-' && strncmp(text + 2, list[i].name, length) == 0 &&
            (text[2 + length] == 0 || text[2 + length] == '='))
            return i;
    }
    return -1;
}

static int unknown_option(const parsing *p, const char *text) {
    const command *c = p->out->command;
    char name[64] = "";
    strncat(name, text, strcspn(text, "=") < sizeof name ? strcspn(text, "=") : sizeof name - 1);
    suggestion s = suggest(name + strspn(name, "-"));
    s.prefix = "--";
    for (const option *o = common_options; o->name; o++) suggest_name(&s, o->name);
    for (int i = 0; c && i < MOST_OPTIONS && c->options[i].name; i++)
        suggest_name(&s, c->options[i].name);
    return fail(EXIT_USAGE, "tenon%s%s has no option '%s'%s\n  see: tenon help%s%s", c ? " " : "",
                c ? c->name : "", name, suggest_text(&s), c ? " " : "", c ? c->name : "");
}

static int take_option(parsing *p, const char *text) {
    const command *c = p->out->command;
    const char **values = p->out->values;
    const option *list = c ? c->options : NULL;
    int i = c ? match(list, MOST_OPTIONS, text) : -1;
    if (i < 0) {
        list = common_options, values = p->common;
        i = match(list, MOST_COMMON, text);
    }
    if (i < 0) return unknown_option(p, text);
    const char *equals = text[1] == '-' ? strchr(text, '=') : NULL;
    if (!list[i].value && equals) return fail(EXIT_USAGE, "--%s takes no value", list[i].name);
    if (!list[i].value)
        values[i] = "";
    else if (equals)
        values[i] = equals + 1;
    else if (p->at < p->argc)
        values[i] = p->argv[p->at++];
    if (list[i].value && (!values[i] || !*values[i]))
        return fail(EXIT_USAGE, "--%s needs a value: --%s %s", list[i].name, list[i].name,
                    list[i].value);
    return EXIT_OK;
}

/* ---- The line -------------------------------------------------------------------------------- */

static int take(parsing *p, const char *text) {
    if (!p->only_words && strcmp(text, "--") == 0) return p->only_words = true, EXIT_OK;
    if (!p->only_words && !p->out->command && strcmp(text, "--version") == 0)
        return find_command(p, "version");
    if (!p->only_words && text[0] == '-' && text[1]) return take_option(p, text);
    if (!p->out->command) return find_command(p, text);
    if (p->n_words == (int)(sizeof p->words / sizeof *p->words)) return unexpected(p, text);
    p->words[p->n_words++] = text;
    return EXIT_OK;
}

/* A mistake does not end it: whether --json was asked for decides how the mistake is told. */
int request_parse(int argc, char **argv, request *out) {
    *out = (request){0};
    parsing p = {.argc = argc, .at = 1, .argv = argv, .out = out};
    while (p.at < argc) take(&p, argv[p.at++]);
    out->json = p.common[0] != NULL;
    out->values[MOST_OPTIONS - 1] = p.common[1];
    out->help = p.common[2] != NULL;
    if (failure_text()) return failure_code();
    if (!out->command && out->json) find_command(&p, "help");
    return out->command ? find_form(&p) : EXIT_OK;
}
