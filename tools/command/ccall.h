/* ccall.h - how an op is called from C: what its generated header holds, as text.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_COMMAND_CCALL_H
#define TENON_COMMAND_CCALL_H

#include <stdbool.h>

typedef struct c_call { /* lines; "" where there is nothing to say */
    char *prototype;
    char *types;   /* structs of options and of results */
    char *samples; /* calls without and with options */
} c_call;

bool c_call_make(const char *schema, c_call *out); /* false + failure: out of memory */
void c_call_free(c_call *);

#endif
