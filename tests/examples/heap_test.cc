// heap_test.cc - counts every call to the C allocator, whoever makes it: a warm training step makes
// none. SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <atomic>

#include "examples/digits/digits.h"
#include "tests/support/support.h"

namespace {
std::atomic<uint64_t> calls{0};
}

// glibc's own names for what is replaced below; plugins and the core find these first.
extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

void *malloc(size_t n) { return calls++, __libc_malloc(n); }
void *calloc(size_t n, size_t each) { return calls++, __libc_calloc(n, each); }
void *realloc(void *p, size_t n) { return calls++, __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) { return calls++, __libc_memalign(align, n); }
int posix_memalign(void **out, size_t align, size_t n) {
    calls++;
    *out = __libc_memalign(align, n);
    return *out ? 0 : 12;
}
}

namespace {

enum { EPOCHS = 4, WARM = 2 };

struct Watch {
    uint64_t last = 0, extra = 0, steps = 0;
};

void after_step(void *user, const digits_progress *p) {
    Watch *w = static_cast<Watch *>(user);
    if (p->epoch > WARM) w->extra += calls - w->last, w->steps++;
    w->last = calls;
}

class Heap : public Tenon {};

TEST_F(Heap, IsNotUsedByAWarmTrainingStep) {
    for (const char *provider : {"cpu_ref", "cpu_blas"}) {
        Watch watch;
        const std::string checkpoint =
            std::string(getenv("TEST_TMPDIR") ? getenv("TEST_TMPDIR") : "/tmp") + "/heap-weights";
        digits_opts opts = {};
        opts.data = getenv("DIGITS_CSV"), opts.checkpoint = checkpoint.c_str();
        opts.provider = provider, opts.epochs = EPOCHS;
        opts.progress = after_step, opts.user = &watch;
        digits_result r;
        ASSERT_EQ(digits_run(&opts, &r), TN_OK) << tn_error_message();
        unlink(checkpoint.c_str());
        unlink((checkpoint + ".prev").c_str());
        EXPECT_EQ(watch.steps, 2u * 23) << "two epochs of 23 batches";
        EXPECT_EQ(watch.extra, 0u) << provider << ": heap calls in warm steps";
    }
    const uint64_t before = calls;
    void *volatile p = malloc(1); // the counter counts
    free(p);
    EXPECT_EQ(calls, before + 1);
}

} // namespace
