// op_fuzz_test.cc - thousands of random calls of every op: each works or names its error, says the
// same on every provider, and leaves what it would have written as it was when it fails. So does
// the backward pass of what was recorded.
//
//   op_fuzz_test [--gtest_filter='OpFuzz.gather']     TENON_FUZZ_CASES=n: cases per op (2000)
//                                                     TENON_FUZZ_CASE=k: this one only
//
// If the process dies, the case is the last thing it prints.
// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <cstdlib>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/ops/op_fuzz.h"

// Absurd sizes are asked for on purpose; the environment's options come on top of these.
extern "C" const char *__asan_default_options() {
    return "allocator_may_return_null=1:max_allocation_size_mb=1024";
}
extern "C" void __sanitizer_set_death_callback(void (*)()) __attribute__((weak));
extern "C" void __asan_init() __attribute__((weak));

namespace {

const char *const providers[] = {"cpu_ref", "cpu_blas"};

// Is a result as large as its argument? If not, the op would walk a view of 2^46 elements for
// years, correctly.
bool result_is_as_large(const Op &op) {
    return (op.info.traits & (TN_OP_VIEW | TN_OP_INPLACE)) != 0;
}

uint64_t setting(const char *name, uint64_t absent) {
    const char *text = getenv(name);
    return text ? strtoull(text, nullptr, 10) : absent;
}

// ---- The last words of a process that dies ----

char last_words[160];

void say_last_words() {
    const ssize_t n = write(STDERR_FILENO, last_words, strlen(last_words));
    (void)n;
}

void die_loudly(int signal) {
    say_last_words();
    std::signal(signal, SIG_DFL);
    raise(signal);
}

// A case that slips through must fail to allocate, not take the machine's memory. (The address
// sanitizer has a limit of its own, and needs the address space.)
void limit_memory() {
    if (__asan_init) return;
    const rlimit limit = {UINT64_C(3) << 30, UINT64_C(3) << 30};
    setrlimit(RLIMIT_AS, &limit);
}

void watch_for_death() {
    if (__sanitizer_set_death_callback) return __sanitizer_set_death_callback(say_last_words);
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT})
        std::signal(signal, die_loudly);
}

// ---- One case on one provider ----

struct Seen {
    tn_status status, backward;
    std::string text, backward_text;
    std::vector<Contents> results, grads;
    bool comparable;
};

bool readable(tn_tensor *t) { return tn_numel(t) <= 100000; }

void look(tn_tensor *t, std::vector<Contents> *out) {
    if (readable(t))
        out->push_back(contents(t));
    else
        out->push_back({tn_dtype_of(t), shape(t), {}});
}

void look(const tn_value &v, std::vector<Contents> *out) {
    if (is_tensor(v)) look(v.tensor, out);
    for (uint32_t k = 0; v.tag == TN_TAG_TENSORS && v.tensors && k < v.aux; k++)
        if (v.tensors[k]) look(v.tensors[k], out);
}

std::vector<Contents> written(const Op &op, const Call &c) {
    std::vector<Contents> out;
    for (uint32_t i = 0; i < c.values.size(); i++)
        if (op.mutates(i)) look(c.values[i], &out);
    return out;
}

void run_backward(const Call &c, const tn_value *outs, uint32_t n, Seen *seen) {
    for (uint32_t i = 0; i < n; i++) {
        if (!is_tensor(outs[i]) || !tn_requires_grad(outs[i].tensor) || !readable(outs[i].tensor))
            continue;
        tn_backward_opts opts = {};
        opts.grad = tn_ones_like(outs[i].tensor), opts.retain_graph = true;
        tn_backward_with(outs[i].tensor, &opts);
    }
    seen->backward = tn_error(), seen->backward_text = tn_error_message();
    tn_clear_error();
    for (tn_tensor *leaf : c.leaves) {
        if (tn_tensor *g = tn_grad_of(leaf)) look(g, &seen->grads);
        tn_zero_grad(leaf);
    }
}

Seen run(const Op &op, const Fuzzer &fuzzer, uint64_t number, const char *provider) {
    const tn_scope scope = tn_scope_push();
    const Call c = fuzzer.make(number);
    const std::vector<Contents> before = written(op, c);
    EXPECT_EQ(tn_use_provider(provider), TN_OK);
    tn_generator_seed(nullptr, 7);
    tn_value outs[TNI_MAX_RESULTS] = {};
    Seen seen = {};
    seen.comparable = c.comparable;
    seen.status = call(op, c.values, outs), seen.text = tn_error_message();
    EXPECT_EQ(seen.status, tn_error()) << "the status and the pending error differ";
    tn_clear_error();
    for (uint32_t i = 0; !seen.status && i < op.schema.n_visible; i++) look(outs[i], &seen.results);
    const std::vector<Contents> after = written(op, c);
    if (!seen.status) seen.results.insert(seen.results.end(), after.begin(), after.end());
    for (size_t i = 0; seen.status && i < after.size(); i++)
        EXPECT_EQ(before[i].bytes, after[i].bytes) << "a failed call wrote: " << seen.text;
    if (!seen.status && c.backward) run_backward(c, outs, op.schema.n_visible, &seen);
    tn_use_provider(nullptr);
    tn_clear_error();
    EXPECT_EQ(tn_scope_pop(scope), TN_OK) << tn_error_message();
    return seen;
}

// ---- What must hold ----

void expect_named(const Op &op, tn_status status, const std::string &text) {
    if (status == TN_OK) return;
    EXPECT_NE(status, TN_ERR_INTERNAL) << text;
    EXPECT_NE(text.find(op.twin ? op.schema.name : op.name.c_str()), std::string::npos)
        << tn_status_name(status) << ": " << text;
}

void expect_alike(const std::vector<Contents> &a, const std::vector<Contents> &b, bool in_value) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); i++) {
        EXPECT_TRUE(tn_dtype_is(a[i].dtype, b[i].dtype) && a[i].sizes == b[i].sizes);
        if (in_value && a[i].bytes.size() == b[i].bytes.size()) {
            EXPECT_TRUE(same(a[i], b[i])) << "result " << i;
        }
    }
}

void check(const Op &op, const Fuzzer &fuzzer, uint64_t number) {
    snprintf(last_words, sizeof last_words,
             "\nop_fuzz_test died in op %.64s, case %llu (TENON_FUZZ_CASE)\n", op.name.c_str(),
             static_cast<unsigned long long>(number));
    SCOPED_TRACE(op.name + ", case " + std::to_string(number));
    const Seen ref = run(op, fuzzer, number, providers[0]);
    const Seen fast = run(op, fuzzer, number, providers[1]);
    expect_named(op, ref.status, ref.text);
    expect_named(op, fast.status, fast.text);
    // How much memory a call needs is its provider's affair.
    if (ref.status == TN_ERR_NOMEM || fast.status == TN_ERR_NOMEM) return;
    EXPECT_EQ(ref.status, fast.status) << ref.text << "\n but \n" << fast.text;
    EXPECT_EQ(ref.backward, fast.backward) << ref.backward_text << "\n but \n"
                                           << fast.backward_text;
    EXPECT_NE(ref.backward, TN_ERR_INTERNAL) << ref.backward_text;
    if (ref.status || fast.status) return;
    expect_alike(ref.results, fast.results, ref.comparable);
    if (!ref.backward && !fast.backward) expect_alike(ref.grads, fast.grads, ref.comparable);
}

class OpFuzz : public Tenon {
  public:
    explicit OpFuzz(const Op &op) : op_(op) {}

    static void SetUpTestSuite() {} // main has started Tenon

    void TestBody() override {
        const Fuzzer fuzzer(op_, result_is_as_large(op_));
        ASSERT_TRUE(fuzzer.can()) << "no sample to start from";
        const uint64_t only = setting("TENON_FUZZ_CASE", UINT64_MAX);
        if (only != UINT64_MAX) return check(op_, fuzzer, only);
        const uint64_t cases = setting("TENON_FUZZ_CASES", 2000);
        for (uint64_t i = 0; i < cases && !HasFailure(); i++) check(op_, fuzzer, i);
    }

  private:
    const Op op_;
};

} // namespace

// One test per op; the ops are known once the plugins are loaded.
int main(int argc, char **argv) {
    testing::InitGoogleTest(&argc, argv);
    static const std::string folders = plugin_folders();
    tn_init_opts opts = {};
    opts.plugin_path = folders.c_str();
    if (tn_init(&opts) != TN_OK) {
        fprintf(stderr, "%s\n", tn_error_message());
        return 1;
    }
    watch_for_death();
    limit_memory();
    for (const Op &op : all_ops())
        testing::RegisterTest("OpFuzz", op.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                              [op]() -> OpFuzz * { return new OpFuzz(op); });
    return RUN_ALL_TESTS();
}
