/* advice.c - see advice.h. The causes are texts of the dynamic linker, of the C library, and of
 * what the probe's process wrote before it died.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/advice.h"

#include <errno.h>
#include <string.h>

#include "core/base/text.h"

static const char not_found[] = ": cannot open shared object file";

bool tni_is_shortage(int error) { return error == EMFILE || error == ENFILE || error == ENOMEM; }

static bool is_full(const char *cause) {
    return strstr(cause, strerror(EMFILE)) || strstr(cause, strerror(ENFILE));
}

bool tni_library_missing(const char *cause) { return strstr(cause, not_found) && !is_full(cause); }

static const char files[] = "close files, or raise the limit of open files (ulimit -n)";
static const char memory[] = "raise the limit (ulimit -v, ulimit -d) if that is too little; "
                             "'tenon plugins why NAME' asks again";
static const char alike[] =
    "build plugin and tenon alike: both with the sanitizer, or both without it";
static const char thrown[] =
    "catch exceptions inside the plugin: none may cross its border (docs/abi.md, R13)";

static const struct { /* the first that is in the cause counts */
    const char *cause, *fix;
} known[] = {
    {"runtime does not come first", alike},
    {"libtsan.so", alike},
    {"libasan.so", alike},
    {"undefined symbol: __asan_", alike},
    {"undefined symbol: __tsan_", alike},
    {"undefined symbol: __msan_", alike},
    {"undefined symbol: __ubsan_", alike},
    {"undefined symbol: __sanitizer_", alike},
    {"terminate called", thrown},
    {"libc++abi: terminating", thrown},
    {"MiB of memory to map", memory},
    {"Cannot allocate memory", memory},
    {"shared object: Operation not permitted", "its file system forbids programs (noexec)"},
    {"failed to map segment", memory},
    {"in the start of the probe",
     "tenon-probe itself could not start: see the limits of this process (ulimit -a)"},
    {"did not say why", "let its start say why (host->fail), or report it to its author"},
    {"in static TLS block", "load the plugin earlier, or build what it needs without "
                            "-ftls-model=initial-exec"},
    {"undefined symbol", "link the plugin with -Wl,-z,defs to see what it misses"},
    {"version `", "build the plugin on this system"}};

static const char *of_stage(tni_stage stage, tn_status code) {
    switch (stage) {
    case TNI_STAGE_FOUND:
        return code == TN_ERR_NOTFOUND ? "check the path, or see 'tenon plugins --paths'" : "";
    case TNI_STAGE_PROBE:
        return "correct the plugin, or report it to its author; 'tenon plugins why NAME' asks "
               "again";
    case TNI_STAGE_VENDOR:
        return "install what it names";
    case TNI_STAGE_DLOPEN:
    case TNI_STAGE_REGISTERED:
        return code == TN_ERR_PLUGIN || code == TN_ERR_INTERNAL
                   ? "correct the plugin and build it again, or report it to its author"
                   : "";
    default:
        return "";
    }
}

const char *tni_advice(tni_stage stage, tn_status code, const char *cause, char *out,
                       uint64_t capacity) {
    const char *fix = is_full(cause) ? files : NULL;
    if (tni_library_missing(cause)) {
        const char *end = strstr(cause, not_found), *name = end;
        while (name > cause && !strchr(" (", name[-1])) name--;
        tni_text_format(out, capacity, "install %.*s, or add its folder to LD_LIBRARY_PATH",
                        (int)(end - name), name);
        return out;
    }
    for (size_t i = 0; !fix && i < sizeof known / sizeof known[0]; i++)
        if (strstr(cause, known[i].cause)) fix = known[i].fix;
    tni_text_format(out, capacity, "%s", fix ? fix : of_stage(stage, code));
    return out;
}
