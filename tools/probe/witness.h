/* witness.h - what the plugin depends on, told to the host while it runs: also by a process that is
 * dying of it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_PROBE_WITNESS_H
#define TENON_PROBE_WITNESS_H

void witness_begin(int to);         /* where the message goes; from now on deaths are told of */
void witness_say(const char *text); /* [signal] whole, to the message */
void witness_files(void);           /* [signal] which files are mapped */

#endif
