// loader_test.cc - plugins that do one thing wrong (or nothing): refused by name, stage and cause,
// while the host lives on and its registry stays as it was. They are cases of plugins/hostile.c.
// SPDX-License-Identifier: Apache-2.0
#include "tests/loader/loader_test.h"

#include <malloc.h>

#include <atomic>
#include <thread>

#include <tenon/inspect.h>

namespace {

// ---- Good ones ---------------------------------------------------------------------------------

TEST_F(Loader, LoadsAGoodPluginAndTakesRepeatsAsDone) {
    const uint64_t before = tni_registry_hash();
    ASSERT_EQ(load(plugin("good")).text, "");
    const uint64_t after = tni_registry_hash();
    EXPECT_NE(after, before);
    const string link = folder / "another_name.so";
    ASSERT_EQ(symlink(plugin("good").c_str(), link.c_str()), 0);
    EXPECT_EQ(load(plugin("good")).text, "");
    EXPECT_EQ(load(link).text, "");
    EXPECT_EQ(tni_registry_hash(), after);
}

TEST_F(Loader, RefusesTheSameIdFromAnotherFileAndNamesBoth) {
    ASSERT_EQ(load(plugin("good")).text, "");
    expect_refused(plugin("other_good"), "abi", plugin("good"));
    EXPECT_EQ(load(plugin("other_good")).code, TN_ERR_CONFLICT);
}

TEST_F(Loader, TakesRowsOfAnOlderHeaderAndZeroFillsThem) {
    EXPECT_EQ(load(plugin("row_old")).text,
              ""); // with garbage in `drop`, check of plan/drop would refuse it
}

TEST_F(Loader, GivesPluginsServicesThatSurviveNonsense) {
    Setting option("TENON_SERVICES_COLOR", "green");
    ASSERT_EQ(load(plugin("services")).text, "");
    const auto all = scan();
    const tn_plugin_info *info = find(all, "services");
    ASSERT_NE(info, nullptr);
    EXPECT_EQ(string(info->facts), "green, a test plugin");
    EXPECT_EQ(info->n_ops, 1u);
    EXPECT_EQ(info->n_kernels, 1u);
    EXPECT_EQ(info->state, TN_PLUGIN_READY);
}

TEST_F(Loader, LoadsOncePerFileFromManyThreads) {
    std::vector<std::thread> threads;
    std::atomic<int> failed{0};
    for (int i = 0; i < 8; i++)
        threads.emplace_back(
            [&] { failed += tn_plugin_load(plugin("runtime_a").c_str()) != TN_OK; });
    for (auto &t : threads) t.join();
    EXPECT_EQ(failed, 0);
}

TEST_F(Loader, RefusesUnequalRuntimesAndNamesBoth) {
    ASSERT_EQ(load(plugin("runtime_a")).text, "");
    expect_refused(plugin("runtime_b"), "abi",
                   "openmp=libomp, but plugin 'runtime_a' is loaded and uses openmp=libgomp");
}

TEST_F(Loader, LoadsWhatAPluginRequiresIfItIsFound) {
    folder.copy("required");
    Setting path("TENON_PLUGIN_PATH", folder.path());
    ASSERT_EQ(load(plugin("good")).text, "");
    EXPECT_EQ(load(plugin("requires_found")).text, "");
    const auto all = scan();
    ASSERT_NE(find(all, "required"), nullptr);
    EXPECT_EQ(find(all, "required")->state, TN_PLUGIN_READY);
}

// ---- Linked-in plugins -------------------------------------------------------------------------

tn_status nested_result;
tn_status start_nested(const tn_host *, tn_plugin *) {
    nested_result = tn_plugin_load(plugin("good").c_str());
    return TN_ERR_UNSUPPORTED;
}
const tn_plugin_desc *query_nested(const tn_hello *, const char **) {
    static const tn_plugin_desc desc = {sizeof(desc), 0,       "nested", "1.0",
                                        start_nested, nullptr, nullptr};
    return &desc;
}

TEST_F(Loader, RefusesToLoadFromInsideAStart) {
    EXPECT_EQ(tn_plugin_add(query_nested), TN_ERR_UNSUPPORTED);
    EXPECT_NE(string(tn_error_message()).find("not while a plugin is being loaded"), string::npos)
        << tn_error_message();
    EXPECT_EQ(nested_result, TN_ERR_PLUGIN);
}

const tn_host *linked_host;
tn_plugin *linked_self;
tn_status start_linked(const tn_host *h, tn_plugin *p) {
    tn_kernel row = {};
    row.size = sizeof(row);
    row.schema = "linked_op(Tensor x) -> Tensor";
    row.n_args = 1;
    row.device = "cpu";
    row.dtypes = TN_MASK_ALL;
    row.run = [](const void *, tn_call *) -> tn_status { return TN_OK; };
    linked_host = h, linked_self = p;
    return h->add_kernels(p, &row, 1, sizeof(row));
}
const tn_plugin_desc *query_linked(const tn_hello *, const char **) {
    static const tn_plugin_desc desc = {sizeof(desc), 0,       "linked", "1.0",
                                        start_linked, nullptr, nullptr};
    return &desc;
}

TEST_F(Loader, AddsALinkedInPluginOnceAndCollectsRowsOnlyWhileItStarts) {
    ASSERT_EQ(tn_plugin_add(query_linked), TN_OK) << tn_error_message();
    const uint64_t after = tni_registry_hash();
    EXPECT_EQ(tn_plugin_add(query_linked), TN_OK);
    const tn_kernel late = {};
    EXPECT_NE(linked_host->add_kernels(linked_self, &late, 1, sizeof(late)), TN_OK);
    EXPECT_EQ(tni_registry_hash(), after);
    EXPECT_EQ(tn_plugin_add(nullptr), TN_ERR_INVALID);
    tn_clear_error();
    void *block = linked_host->alloc(linked_self, 100);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 64, 0u);
    linked_host->free(linked_self, block);
}

// ---- Hostile ones: the stage and a piece of the cause ------------------------------------------

struct Case {
    const char *name, *stage, *cause;
};
void PrintTo(const Case &c, std::ostream *out) { *out << c.name; }

class Hostile : public Loader, public ::testing::WithParamInterface<Case> {};

TEST_P(Hostile, IsRefusedByNameAndTheRegistryStaysTheSame) {
    ASSERT_EQ(load(plugin("good")).text, "");
    if (string(GetParam().name) == "ctor_loop") tni_probe_limit_set(2000);
    expect_refused(plugin(GetParam().name), GetParam().stage, GetParam().cause);
    EXPECT_FALSE(is_mapped(plugin(GetParam().name))) << "its code was mapped here";
}

TEST_P(Hostile, IsExplainedStageByStage) {
    ASSERT_EQ(load(plugin("good")).text, "");
    if (string(GetParam().name) == "ctor_loop") tni_probe_limit_set(2000);
    const auto lines = why(plugin(GetParam().name));
    ASSERT_FALSE(lines.empty());
    for (size_t i = 0; i + 1 < lines.size(); i++) EXPECT_TRUE(lines[i].ok) << lines[i].stage;
    EXPECT_EQ(lines.front().stage, "found");
    EXPECT_EQ(lines.back().stage, GetParam().stage);
    EXPECT_FALSE(lines.back().ok);
    EXPECT_NE(lines.back().detail.find(GetParam().cause), string::npos) << lines.back().detail;
}

INSTANTIATE_TEST_SUITE_P(
    EveryCase, Hostile,
    ::testing::Values(
        Case{"no_note", "note", "carries no Tenon note"},
        Case{"note_preload", "note", "none of which begins with LD_"},
        Case{"note_twice", "note", "version= appears twice"},
        Case{"note_control", "note", "line 6 is not printable text"},
        Case{"wrong_major", "abi", "needs ABI 9.x, this tenon speaks 0.0"},
        Case{"no_entry", "abi", "does not export tn_plugin_query_v0"},
        Case{"entry_v1", "abi", "exports tn_plugin_query_v1, this tenon needs tn_plugin_query_v0"},
        Case{"exports_function", "abi", "exports helper; a plugin exports tn_plugin_query_v0"},
        Case{"exports_variable", "abi", "exports helper; a plugin exports tn_plugin_query_v0"},
        Case{"requires_absent", "abi", "requires plugin nobody >= 0.1"},
        Case{"requires_newer", "abi", "requires plugin good >= 7, but 0.1.0 is loaded"},
        Case{"ctor_crash", "probe", "crashed the probe with SIGSEGV, in dlopen"},
        Case{"ctor_exit", "probe", "ended the probe with exit status 0, in dlopen"},
        Case{"ctor_loop", "probe", "did not come back within 2000 ms, in dlopen"},
        Case{"ctor_closes", "probe", "in dlopen"},
        Case{"start_crash", "probe", "crashed the probe with SIGBUS, in start"},
        Case{"query_null", "dlopen", "it declines"},
        Case{"query_reason", "dlopen", "the moon is not full"},
        Case{"no_start", "dlopen", "has no start"},
        Case{"id_differs", "dlopen", "its description somebody_else"},
        Case{"vendor_missing", "vendor", "libnobody.so.7 was not found"},
        Case{"device_missing", "vendor", "no such card in this ?[1mcomputer"},
        Case{"row_malformed", "registered", "schema"},
        Case{"row_duplicate", "registered", "already registered"},
        Case{"row_half", "registered", "run"},
        Case{"row_short", "registered", "size: 8 bytes, must be at least"},
        Case{"row_null", "registered", "pass an array of rows"},
        Case{"row_many", "registered", "too many"}, Case{"row_stride", "registered", "stride 12"},
        Case{"driver_half", "registered", "half"},
        Case{"kinds_lie", "registered", "its note says kinds=ops"},
        Case{"start_fails", "registered", "did not say why"},
        Case{"start_nothing", "registered", "registered nothing"}),
    [](const auto &info) { return string(info.param.name); });

// What the probe concludes then depends on what the compiler kept there; never that it loads.
TEST_F(Loader, DoesNotMapAPluginThatChangesTheRegistersOfItsCaller) {
    const string path = folder.copy("query_registers");
    const string stage = load(path).stage();
    EXPECT_TRUE(stage == "probe" || stage == "dlopen") << stage;
    EXPECT_FALSE(is_mapped(path));
}

TEST_F(Loader, RollsBackWhatAStartRegisteredWithoutAProbeToo) {
    Setting off("TENON_PROBE_POLICY", "off");
    for (const char *name : {"start_fails", "vendor_missing", "row_half", "row_duplicate",
                             "row_malformed", "driver_half"}) {
        const uint64_t before = tni_registry_hash();
        EXPECT_NE(load(folder.copy(name)).code, TN_OK) << name;
        EXPECT_NE(load(folder / (string(name) + ".so")).code, TN_OK) << name << ", the second time";
        EXPECT_EQ(tni_registry_hash(), before) << name;
    }
}

TEST_F(Loader, SaysUnusableOfAPluginWhoseVendorLibraryIsMissing) {
    EXPECT_EQ(load(plugin("vendor_missing")).code, TN_ERR_UNSUPPORTED);
    EXPECT_EQ(load(plugin("device_missing")).code, TN_ERR_DEVICE);
    Setting path("TENON_PLUGIN_PATH", plugins());
    const auto all = scan();
    const tn_plugin_info *info = find(all, "vendor_missing");
    ASSERT_NE(info, nullptr);
    EXPECT_EQ(info->state, TN_PLUGIN_UNUSABLE);
    EXPECT_EQ(string(info->why), "vendor: libnobody.so.7 was not found; install what it names");
}

// ---- Memory ------------------------------------------------------------------------------------

// glibc's count; under AddressSanitizer it is 0, and the test says nothing.
TEST_F(Loader, KeepsLittleOfPathsThatWereTriedInVain) {
    const auto try_many = [&](int from, int to) {
        for (int i = from; i < to; i++) {
            const string missing = folder / ("missing" + std::to_string(i) + ".so"),
                         bad = folder / ("bad" + std::to_string(i) + ".so");
            EXPECT_EQ(load(missing).stage(), "found");
            if (i % 2) continue;
            write_file(bad, "no plugin");
            EXPECT_EQ(load(bad).stage(), "note");
        }
    };
    try_many(0, 200); // what is kept of the last ones
    const size_t before = mallinfo2().uordblks;
    try_many(200, 1000);
    EXPECT_LT(mallinfo2().uordblks, before + (64 << 10));
    Setting search("TENON_PLUGIN_PATH", folder.path());
    const auto all = scan();
    ASSERT_NE(find(all, "bad998"), nullptr);
    EXPECT_EQ(find(all, "bad998")->state, TN_PLUGIN_REFUSED);
}

TEST_F(Loader, SurvivesRunningOutOfMemoryAtEveryAllocation) {
    Setting off("TENON_PROBE_POLICY", "off");
    const string path = folder.copy("vendor_missing");
    Setting search("TENON_PLUGIN_PATH", folder.path());
    ASSERT_EQ(load(path).stage(), "vendor"); // whatever is kept for ever is there now
    const uint64_t before = tni_registry_hash();
    for (bool forever : {false, true}) {
        for (uint64_t n = 1; n < 200; n++) {
            int64_t count = 0;
            tni_heap_fail_after(n, forever);
            const tn_status loaded = tn_plugin_load(path.c_str());
            tn_clear_error();
            tn_plugin_scan(&count);
            tni_heap_fail_after(0, false);
            tn_clear_error();
            ASSERT_NE(loaded, TN_OK);
        }
    }
    EXPECT_EQ(load(path).stage(), "vendor");
    EXPECT_EQ(tni_registry_hash(), before);
}

// ---- The standard set: once per process, so the order of these matters -------------------------

class StandardSet : public Loader {};

TEST_F(StandardSet, NamesTheFoldersWhenTheStandardPluginsAreMissing) {
    EXPECT_FALSE(tni_plugins_ready());
    EXPECT_EQ(tn_error(), TN_ERR_NOTFOUND);
    const string text = tn_error_message();
    EXPECT_NE(text.find("'math' was not found"), string::npos) << text;
    EXPECT_NE(text.find(folder.path() + "/data/tenon/plugins"), string::npos) << text;
    EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 5);
}

TEST_F(StandardSet, RefusesRelativeFoldersInOptions) {
    tn_init_opts opts = {};
    opts.plugin_path = "/fine:relative";
    EXPECT_EQ(tn_init(&opts), TN_ERR_INVALID);
}

TEST_F(StandardSet, LoadsTheStandardSetAndLeavesOutWhatIsRefused) {
    for (const char *name : {"fake_math", "fake_cpu_ref", "start_nothing", "row_old", "no_note"})
        folder.copy(name);
    tn_init_opts opts = {};
    opts.plugin_path = folder.path().c_str();
    testing::internal::CaptureStderr();
    const tn_status s = tn_init(&opts);
    const string log = testing::internal::GetCapturedStderr();
    ASSERT_EQ(s, TN_OK) << tn_error_message();
    EXPECT_TRUE(tni_plugins_ready());
    EXPECT_EQ(tn_error(), TN_OK) << tn_error_message();
    EXPECT_NE(log.find("'start_nothing' is left out (registered)"), string::npos) << log;
    tn_scope scope = tn_scope_push();
    const string list = tni_plugin_list();
    EXPECT_NE(list.find("cpu_ref"), string::npos) << list;
    EXPECT_NE(list.find("math"), string::npos) << list;
    tn_scope_pop(scope);
    EXPECT_EQ(tn_init(nullptr), TN_OK);
    EXPECT_EQ(tn_init(&opts), TN_ERR_CONFLICT);
}

} // namespace
