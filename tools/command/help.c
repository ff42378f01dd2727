/* help.c - `tenon help` and `tenon version`, from the table of commands.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "tools/command/command.h"
#include "tools/command/json.h"
#include "tools/command/screen.h"
#include "tools/command/suggest.h"

static const char *const no_titles[] = {"", "", NULL};

static void option_row(table *t, const option *o) {
    const char letter[] = {'-', o->letter, ',', ' ', 0};
    table_cell(t, PLAIN, "  %s--%s%s%s", o->letter ? letter : "", o->name, o->value ? " " : "",
               o->value ? o->value : "");
    table_cell(t, PLAIN, "%s", o->help);
}

static int print_tenon(void) {
    puts("usage: tenon COMMAND [OPTION...]\n\ncommands:");
    table t = table_new(no_titles);
    for (const command *c = commands; c->name; c++) {
        table_cell(&t, PLAIN, "  %s", c->name);
        table_cell(&t, PLAIN, "%s", c->help);
    }
    const int code = table_print(&t);
    puts("\nexit codes:");
    t = table_new(no_titles);
    for (const exit_row *r = exit_rows; r->text; r++) {
        table_cell(&t, PLAIN, "  %d", r->code);
        table_cell(&t, PLAIN, "%s", r->text);
    }
    if (table_print(&t)) return EXIT_NO_MEMORY;
    puts("\nmore: tenon help COMMAND");
    return code;
}

int print_help(const command *c) {
    if (!c) return print_tenon();
    print_wrapped(stdout, "tenon %s: %s\n", c->name, c->help);
    table t = table_new(no_titles);
    for (const form *f = c->forms; f->verb; f++) {
        const bool optional = f == c->forms && f->verb[0];
        table_cell(&t, PLAIN, "%s tenon %s%s%s%s%s%s%s", f == c->forms ? "usage:" : "      ",
                   c->name, f->verb[0] ? " " : "", optional ? "[" : "", f->verb,
                   optional ? "]" : "", f->argument ? " " : "", f->argument ? f->argument : "");
        table_cell(&t, PLAIN, "%s", f->help ? f->help : "");
    }
    int code = table_print(&t);
    puts("\noptions:");
    t = table_new(no_titles);
    for (int i = 0; i < MOST_OPTIONS && c->options[i].name; i++) option_row(&t, &c->options[i]);
    for (const option *o = common_options; o->name; o++) option_row(&t, o);
    return table_print(&t) ? EXIT_NO_MEMORY : code;
}

static json_t *options_json(const option *list, int n) {
    json_t *all = json_array();
    for (int i = 0; i < n && list[i].name; i++)
        json_array_append_new(all, json_pack("{s:s, s:o, s:s}", "name", list[i].name, "value",
                                             json_text(list[i].value), "help", list[i].help));
    return all;
}

static json_t *command_json(const command *c) {
    json_t *forms = json_array();
    for (const form *f = c->forms; f->verb; f++)
        json_array_append_new(forms, json_pack("{s:s, s:o, s:o}", "verb", f->verb, "argument",
                                               json_text(f->argument), "help", json_text(f->help)));
    return json_pack("{s:s, s:s, s:o, s:o}", "name", c->name, "help", c->help, "forms", forms,
                     "options", options_json(c->options, MOST_OPTIONS));
}

int run_help(const request *r) {
    const char *topic = r->help ? r->command->name : r->argument;
    const command *one = NULL;
    suggestion s = suggest(topic ? topic : "");
    for (const command *c = commands; c->name; c++) {
        suggest_name(&s, c->name);
        if (topic && strcmp(topic, c->name) == 0) one = c;
    }
    if (topic && !one)
        return fail(EXIT_USAGE, "tenon has no command '%s'%s", topic, suggest_text(&s));
    if (!r->json) return print_help(one);
    json_t *list = json_array();
    for (const command *c = commands; c->name; c++)
        if (!one || c == one) json_array_append_new(list, command_json(c));
    return json_print(json_pack("{s:s, s:o, s:o}", "schema", "tenon.help/1", "commands", list,
                                "common_options", options_json(common_options, 3)));
}

int run_version(const request *r) {
    const char abi[] = TN_STRING(TN_ABI_MAJOR) "." TN_STRING(TN_ABI_MINOR);
    if (r->json)
        return json_print(json_pack("{s:s, s:s, s:s, s:s}", "schema", "tenon.version/1", "tenon",
                                    TN_VERSION, "library", tn_version(), "abi", abi));
    print_wrapped(stdout, "tenon %s (library %s, plugin border %s)", TN_VERSION, tn_version(), abi);
    return EXIT_OK;
}
