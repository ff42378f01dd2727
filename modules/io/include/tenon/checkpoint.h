/* checkpoint.h - tensors in a file, and back. The format is safetensors.
 *
 * A save that fails for any reason (full disk, no memory, killed) leaves the file before it whole;
 * a load that fails changes no tensor. Checksums of every tensor and of the header travel in
 * __metadata__; files of other programs, which have none, load as well.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_IO_CHECKPOINT_H
#define TENON_IO_CHECKPOINT_H

#include <tenon/tenon.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_named_tensor {
    const char *name; /* UTF-8, unique in its file */
    tn_tensor *tensor;
} tn_named_tensor;

/* Replaces path by a new file in one step, and keeps the one before as path.prev. When it returns
 * TN_OK, the bytes are on the disk. IO names the step that failed.
 * The new file has owner and permissions of the one before; where that cannot be, where that one is
 * read-only, or where there is something else than a regular file, the save is refused. A link is
 * followed: what it leads to is replaced (or made), and .prev is beside that. Another hard link to
 * the one before goes on naming that. */
TN_API tn_status tn_checkpoint_save(const char *path, const tn_named_tensor *items, int64_t n);

/* Fills the tensors from the file. Names, dtypes and shapes must be the same on both sides, and all
 * of them are checked before the first tensor changes. FORMAT names the byte or field; NOTFOUND,
 * DTYPE or SHAPE name the tensor that does not fit. */
TN_API tn_status tn_checkpoint_load(const char *path, const tn_named_tensor *items, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
