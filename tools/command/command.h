/* command.h - what the subcommands of `tenon` share: one table of commands, a parsed request.
 *
 * Invariant: results go to stdout, everything else to stderr; a command returns its exit code and
 * never leaves the process by itself.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_COMMAND_H
#define TENON_COMMAND_H

#include <tenon/tenon.h>

#include "tools/command/failure.h"

enum { MOST_OPTIONS = 8 };

typedef struct option {
    const char *name;  /* "seeds" of --seeds; NULL ends a list */
    const char *value; /* "N"; NULL = a switch */
    const char *help;
    char letter; /* 'o' of -o, or 0 */
} option;

typedef struct request request;

typedef struct form {     /* one way to use a command */
    const char *verb;     /* "info"; "" = no word; NULL ends a list */
    const char *argument; /* "NAME", or NULL; in [] if it may be left out */
    const char *help;
    int (*run)(const request *);
} form;

typedef struct command {
    const char *name; /* NULL ends the list */
    const char *help;
    form forms[5]; /* the first is taken when no verb is given */
    option options[MOST_OPTIONS];
} command;

/* The one table: parsing, help and suggestions all read it. */
extern const command commands[];
extern const option common_options[]; /* of every command */

struct request {
    const command *command;
    const form *form;
    const char *argument;             /* or NULL */
    const char *values[MOST_OPTIONS]; /* of command->options, in its order; "" = a switch; NULL =
                                         not given */
    bool json, help;
};

/* Reads argv[1..] into *out. Returns EXIT_OK, or EXIT_USAGE after saying what is wrong; json is
 * known in either case. */
int request_parse(int argc, char **argv, request *out);
const char *request_value(const request *, const char *option); /* NULL = not given */

int run_demo(const request *);
int run_plugins_list(const request *);
int run_plugins_info(const request *);
int run_plugins_why(const request *);
int run_devices(const request *);
int run_ops_list(const request *);
int run_ops_info(const request *);
int run_bindgen(const request *);
int run_help(const request *);
int run_version(const request *);
int print_help(const command *); /* NULL = of tenon itself */

#endif
