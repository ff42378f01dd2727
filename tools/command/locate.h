/* locate.h - a plugin as the command line names it: NAME, or FILE. One rule for all commands.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_COMMAND_LOCATE_H
#define TENON_COMMAND_LOCATE_H

#include <limits.h>

#include <tenon/inspect.h>
#include <tenon/tenon.h>

/* The path, if a file is meant; room: for a file of this folder, whose path is made. NULL = a
 * name. */
const char *plugin_file(const char *name_or_file, char room[PATH_MAX]);
/* What is known of it without loading it. EXIT_OK, or a failure that names what is near. */
int plugin_find(const char *name_or_file, tn_plugin_info *out);

#endif
