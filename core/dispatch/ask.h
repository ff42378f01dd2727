/* ask.h - what is registered.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_ASK_H
#define TENON_DISPATCH_ASK_H

/* Raises NOTFOUND for an op of this name, with the nearest name there is. */
void tni_ask_not_found(const char *name);

#endif
