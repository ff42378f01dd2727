/* hostile.c - one plugin, built many times: each CASE does one thing wrong (or nothing: CASE_good).
 * BUILD has the list of cases; loader_test.cc says what must come of each.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tenon/abi_driver.h>

/* ---- Identity: most cases are called after themselves ---------------------------------------- */

#define ID     TN_STRING(CASE_NAME)
#define KINDS  "ops,kernels,driver"
#define EXTRA  ""
#define ABI    "0.0"
#define DESC   ID
#define LATEST "0.1.0"

#if defined(CASE_fake_math)
#undef ID
#define ID "math"
#elif defined(CASE_fake_cpu_ref)
#undef ID
#define ID "cpu_ref"
#elif defined(CASE_other_good)
#undef ID
#define ID "good"
#elif defined(CASE_wrong_major)
#undef ABI
#define ABI "9.3"
#elif defined(CASE_kinds_lie)
#undef KINDS
#define KINDS "ops"
#elif defined(CASE_id_differs)
#undef DESC
#define DESC "somebody_else"
#elif defined(CASE_runtime_a)
#undef EXTRA
#define EXTRA "runtime.openmp=libgomp\n"
#elif defined(CASE_runtime_b)
#undef EXTRA
#define EXTRA "runtime.openmp=libomp\n"
#elif defined(CASE_requires_absent)
#undef EXTRA
#define EXTRA "requires=tenon.nobody>=0.1\n"
#elif defined(CASE_requires_found)
#undef EXTRA
#define EXTRA "requires=tenon.required>=0.1,tenon.good\n"
#elif defined(CASE_requires_newer)
#undef EXTRA
#define EXTRA "requires=tenon.good>=7\n"
#elif defined(CASE_note_twice)
#undef EXTRA
#define EXTRA "version=0.2\n"
#elif defined(CASE_vendor_option)
#undef EXTRA
#define EXTRA "environment=OPENBLAS_,OMP_\n"
#elif defined(CASE_note_preload)
#undef EXTRA
#define EXTRA "environment=OMP_,LD_PRELOAD\n"
#elif defined(CASE_note_control)
#undef EXTRA
#define EXTRA "remark=\033[31mred\n"
#endif

#if !defined(CASE_no_note)
TN_NOTE(note, TN_NOTE_IDENTITY,
        "id=" ID "\nversion=0.1.0\nabi=" ABI "\nkinds=" KINDS "\nlicence=Apache-2.0\n" EXTRA);
#endif

/* Really dies of it, also where a sanitizer has a handler. */
static void die(int number) {
    signal(number, SIG_DFL);
    raise(number);
}

/* ---- Constructors ---------------------------------------------------------------------------- */

#if defined(CASE_ctor_crash)
__attribute__((constructor)) static void at_load(void) { die(SIGSEGV); }
#elif defined(CASE_ctor_memory)
/* Dies with memory mapped whose name is another one each time. */
__attribute__((constructor)) static void at_load(void) {
    char name[32];
    snprintf(name, sizeof name, "memory-%d", (int)getpid());
    const int fd = memfd_create(name, 0);
    if (fd < 0 || ftruncate(fd, 4096)) _exit(1);
    if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED) _exit(1);
    die(SIGSEGV);
}
#elif defined(CASE_ctor_exit)
__attribute__((constructor)) static void at_load(void) { _exit(0); }
#elif defined(CASE_ctor_loop)
__attribute__((constructor)) static void at_load(void) {
    for (;;) sleep(1);
}
#elif defined(CASE_ctor_closes)
__attribute__((constructor)) static void at_load(void) {
    for (int fd = 0; fd < 64; fd++) close(fd);
}
#endif

/* ---- Rows ------------------------------------------------------------------------------------ */

static tn_status run(const void *plan, tn_call *c) {
    (void)plan, (void)c;
    return TN_OK;
}

#define SCHEMA ID "_op(Tensor<T> x) -> Tensor y"

static const tn_kernel kernel = {.size = sizeof(tn_kernel),
                                 .schema = SCHEMA,
                                 .n_args = 1,
                                 .device = "cpu",
                                 .dtypes = TN_MASK_ALL,
                                 .run = run};

#define OP_ROW(text)                                                                               \
    {                                                                                              \
        .size = sizeof(tn_op), .schema = text, .form = "pointwise", .shape_rule = "same",          \
        .no_grad = "a test"                                                                        \
    }

static const tn_op op = OP_ROW(SCHEMA);

static tn_status register_good(const tn_host *h, tn_plugin *p) {
    h->describe(p, "a test plugin");
    h->add_ops(p, &op, 1, sizeof(op));
    h->add_kernels(p, &kernel, 1, sizeof(kernel));
    return TN_OK;
}

static tn_status fail(const tn_host *h, tn_plugin *p, tn_status code, const char *text) {
    h->fail(p, code, text, strlen(text));
    return code;
}

/* ---- What goes wrong ------------------------------------------------------------------------- */

/* Rows that are malformed, doubled, half filled, short, absent, too many, or old. */
static tn_status register_odd(const tn_host *h, tn_plugin *p) {
#if defined(CASE_row_malformed)
    static const tn_op bad = OP_ROW("this is (no schema");
    h->add_ops(p, &bad, 1, sizeof(bad));
    return TN_OK;
#elif defined(CASE_row_duplicate)
    h->add_ops(p, &op, 1, sizeof(op));
    h->add_ops(p, &op, 1, sizeof(op));
    return TN_OK;
#elif defined(CASE_row_half)
    tn_kernel half = kernel;
    half.run = NULL;
    h->add_ops(p, &op, 1, sizeof(op));
    h->add_kernels(p, &half, 1, sizeof(half));
    return TN_OK;
#elif defined(CASE_row_short)
    tn_kernel shorter = kernel;
    shorter.size = 8;
    h->add_kernels(p, &shorter, 1, sizeof(shorter));
    return TN_OK; /* and does not look at the answer */
#elif defined(CASE_row_null)
    h->add_kernels(p, NULL, 3, sizeof(kernel));
    return TN_OK;
#elif defined(CASE_row_many)
    h->add_kernels(p, &kernel, UINT32_MAX, sizeof(kernel));
    return TN_OK;
#elif defined(CASE_row_stride)
    h->add_kernels(p, &kernel, 1, 12);
    return TN_OK;
#elif defined(CASE_row_old)
    /* A row of an older header: the last field is not there. That is fine. */
    tn_kernel rows[2] = {kernel, kernel};
    rows[0].size = rows[1].size = offsetof(tn_kernel, drop);
    rows[1].device = "elsewhere";
    memset(&rows[0].drop, 0x5a, sizeof(rows[0].drop));
    memset(&rows[1].drop, 0x5a, sizeof(rows[1].drop));
    return h->add_kernels(p, rows, 2, sizeof(*rows));
#else
    return register_good(h, p);
#endif
}

/* Vendor libraries: one that an option names, one that is always at the same place, and one that asks
 * for memory until it gets it. */
static tn_status start_vendor(const tn_host *h, tn_plugin *p) {
#if defined(CASE_vendor_option)
    const char *library = h->option(p, "library");
    if (library && dlopen(library, RTLD_NOW | RTLD_LOCAL) == NULL)
        return fail(h, p, TN_ERR_UNSUPPORTED, dlerror());
    h->describe(p, library ? "with a library" : "without a library");
#elif defined(CASE_vendor_beside)
    Dl_info self;
    char path[4096] = "";
    if (dladdr((const void *)&kernel, &self))
        snprintf(path, sizeof(path), "%s.vendor", self.dli_fname);
    if (dlopen(path, RTLD_NOW | RTLD_LOCAL) == NULL)
        return fail(h, p, TN_ERR_UNSUPPORTED, dlerror());
#elif defined(CASE_vendor_greedy)
    void *block;
    do block = mmap(NULL, (size_t)1 << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    while (block == MAP_FAILED);
    munmap(block, (size_t)1 << 30);
#elif defined(CASE_vendor_throws)
    fprintf(stderr, "=====\nterminate called after throwing an instance of 'std::runtime_error'\n"
                    "  what():  no more licences\n");
    abort();
#elif defined(CASE_vendor_quits)
    fprintf(stderr, "==7==ASan runtime does not come first in initial library list\n");
    _exit(1);
#elif defined(CASE_vendor_grumbles)
    puts("vendor: the licence server does not answer");
    fflush(stdout);
    return fail(h, p, TN_ERR_DEVICE, "no licence");
#endif
    return register_good(h, p);
}

static tn_status start(const tn_host *h, tn_plugin *p) {
#if defined(CASE_vendor_missing)
    register_good(h, p);
    return fail(h, p, TN_ERR_UNSUPPORTED, "libnobody.so.7 was not found");
#elif defined(CASE_device_missing)
    return fail(h, p, TN_ERR_DEVICE, "no such card\nin this \033[1mcomputer");
#elif defined(CASE_start_fails)
    register_good(h, p);
    return TN_ERR_INTERNAL;
#elif defined(CASE_start_nothing)
    (void)h, (void)p;
    return TN_OK;
#elif defined(CASE_start_crash)
    (void)h, (void)p;
    die(SIGBUS);
    return TN_OK;
#elif defined(CASE_driver_half)
    static const tn_driver d = {.size = sizeof(tn_driver), .kind = "half"};
    h->add_driver(p, &d);
    return TN_OK;
#elif defined(CASE_services)
    /* Services take nonsense without harm. */
    h->log(NULL, TN_LOG_DEBUG, NULL, 7);
    h->free(p, NULL);
    h->free(p, h->alloc(p, 1000));
    h->describe(p, NULL);
    if (h->alloc(p, UINT64_MAX) || h->interface(p, "tn.nothing/9") || h->option(p, "no=such key"))
        return TN_ERR_INTERNAL;
    const char *color = h->option(p, "color");
    h->describe(p, color ? color : "no color");
    return register_good(h, p);
#elif defined(CASE_row_malformed) || defined(CASE_row_duplicate) || defined(CASE_row_half) ||      \
    defined(CASE_row_short) || defined(CASE_row_null) || defined(CASE_row_many) ||                 \
    defined(CASE_row_stride) || defined(CASE_row_old)
    return register_odd(h, p);
#else
    return start_vendor(h, p);
#endif
}

/* ---- Entry ----------------------------------------------------------------------------------- */

#if defined(CASE_exports_function)
TN_ENTRY int helper(void);
TN_ENTRY int helper(void) { return 1; }
#elif defined(CASE_exports_variable)
TN_ENTRY int helper;
TN_ENTRY int helper = 1;
#endif

static const tn_plugin_desc desc = {
    sizeof(tn_plugin_desc), TN_ABI_MINOR, DESC, LATEST, start, NULL, NULL};

#if defined(CASE_no_entry)
__attribute__((used)) static const tn_plugin_desc *const unused = &desc;
#else
#if defined(CASE_entry_v1)
#define ENTRY tn_plugin_query_v1
#else
#define ENTRY tn_plugin_query_v0
#endif
TN_ENTRY const tn_plugin_desc *ENTRY(const tn_hello *hello, const char **why);
TN_ENTRY const tn_plugin_desc *ENTRY(const tn_hello *hello, const char **why) {
    (void)hello, (void)why;
#if defined(CASE_query_null)
    return NULL;
#elif defined(CASE_query_reason)
    *why = "the moon is not full";
    return NULL;
#elif defined(CASE_query_registers)
    /* Breaks the calling convention: the caller goes on with other objects than its own. */
    static char others[1 << 16];
#if defined(__x86_64__)
    __asm__ volatile("mov %0, %%rbx\n mov %0, %%r12\n mov %0, %%r13\n mov %0, %%r14\n mov %0, %%r15"
                     :
                     : "r"(others));
#endif
    (void)others;
    return NULL;
#elif defined(CASE_no_start)
    static tn_plugin_desc empty;
    empty = desc;
    empty.start = NULL;
    return &empty;
#else
    return &desc;
#endif
}
#endif
