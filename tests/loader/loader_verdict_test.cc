// loader_verdict_test.cc - what an answer of tenon-probe depends on, and what of its process is told.
// Each test is its own sequence of starts: what is asked anew, and what is remembered.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>

#include <chrono>

#include <tenon/inspect.h>

#include "tests/loader/loader_test.h"

extern "C" {
#include "core/loader/advice.h"
}

namespace {

// What the stage "probe" says when the plugin is examined as by a new process. Plugins that load do
// so for good, so their answers are looked up as a listing does it.
string remembered(const Folder &folder, const string &id) {
    Setting search("TENON_PLUGIN_PATH", folder.path());
    const auto all = scan();
    const tn_plugin_info *info = find(all, id);
    if (info == nullptr) return "not found";
    return info->state == TN_PLUGIN_NOT_TRIED ? info->facts : info->why;
}

// Makes a file old enough to be let in on a remembered answer: by its change time, which nobody can
// set, so by waiting for what is left of two seconds.
void settle(const string &path) {
    struct stat st = {};
    ASSERT_EQ(stat(path.c_str(), &st), 0);
    while (time(nullptr) - st.st_ctim.tv_sec < 2) usleep(20000);
}

// Loads the plugin in a new process; what it answers is remembered for the next. The process is this
// test, told to run the one below.
string in_child(const string &path, unsigned limit_ms = 0) {
    const string out = path + ".out", ms = std::to_string(limit_ms);
    Setting plugin("CHILD_PLUGIN", path), to("CHILD_OUT", out), limit("CHILD_LIMIT", ms);
    char name[] = "/proc/self/exe", filter[] = "--gtest_filter=Child.*";
    char *argv[] = {name, filter, nullptr};
    posix_spawn_file_actions_t quiet;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
    pid_t pid = 0;
    int status = 0;
    const int bad = posix_spawn(&pid, name, &quiet, nullptr, argv, environ);
    posix_spawn_file_actions_destroy(&quiet);
    if (bad || waitpid(pid, &status, 0) != pid) return "could not be started";
    const string text = slurp(out);
    unlink(out.c_str());
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? text : "died";
}

TEST(Child, LoadsWhatItIsTold) {
    const char *path = getenv("CHILD_PLUGIN"), *out = getenv("CHILD_OUT"),
               *ms = getenv("CHILD_LIMIT");
    if (!path || !out || !ms) return;
    tni_probe_limit_set(static_cast<uint32_t>(atoi(ms)));
    write_file(out, load(path).text);
}

// ---- Options -----------------------------------------------------------------------------------

TEST_F(Loader, AsksAgainWhenAnOptionThePluginReadsIsNotWhatItWas) {
    const string path = folder.copy("vendor_option");
    settle(path);
    EXPECT_EQ(in_child(path), "");
    EXPECT_EQ(remembered(folder, "vendor_option"), "without a library, a test plugin");
    {
        Setting library("TENON_VENDOR_OPTION_LIBRARY", plugin("ctor_crash"));
        EXPECT_EQ(remembered(folder, "vendor_option"), "") << "an answer to another question";
        const string text = in_child(path);
        EXPECT_NE(text.find("crashed the probe with SIGSEGV, in start"), string::npos) << text;
        EXPECT_NE(in_child(path).find("(remembered)"), string::npos);
    }
    EXPECT_EQ(remembered(folder, "vendor_option"), "without a library, a test plugin");
    EXPECT_EQ(in_child(path), "");
    Setting library("TENON_VENDOR_OPTION_LIBRARY", plugin("good"));
    EXPECT_EQ(in_child(path), "");
}

// The working folder, for a while.
struct Inside {
    explicit Inside(const Folder &f) : before(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
        EXPECT_EQ(chdir(f.path().c_str()), 0);
    }
    ~Inside() {
        EXPECT_EQ(fchdir(before), 0);
        close(before);
    }
    int before;
};

TEST_F(Loader, ProbesInTheWorkingFolderThatRelativeNamesOfLibrariesMean) {
    const string path = folder.copy("vendor_option");
    Folder bad, good;
    write_file(bad / "v.library", slurp(plugin("ctor_crash")));
    write_file(good / "v.library", slurp(plugin("good")));
    settle(path), settle(good / "v.library");
    for (const auto &[name, folders] :
         {std::pair("./v.library", ""), std::pair("v.library", ":")}) {
        Setting library("TENON_VENDOR_OPTION_LIBRARY", name), from("LD_LIBRARY_PATH", folders);
        {
            Inside here(good);
            EXPECT_EQ(in_child(path), "") << name;
            EXPECT_NE(remembered(folder, "vendor_option"), "") << name;
        }
        Inside here(bad);
        EXPECT_EQ(remembered(folder, "vendor_option"), "") << name;
        EXPECT_NE(in_child(path).find("crashed the probe"), string::npos) << name;
    }
}

TEST_F(Loader, AsksAgainWhenTheFileThatAnOptionNamesIsAnother) {
    const string path = folder.copy("vendor_option"), library = folder / "vendor.library";
    Setting option("TENON_VENDOR_OPTION_LIBRARY", library);
    const string absent = in_child(path);
    EXPECT_NE(absent.find("install " + library), string::npos) << absent;
    write_file(library, slurp(plugin("ctor_crash")));
    EXPECT_NE(in_child(path).find("crashed the probe"), string::npos);
    EXPECT_NE(in_child(path).find("(remembered)"), string::npos);
    write_file(library, slurp(plugin("good")));
    settle(path), settle(library);
    EXPECT_EQ(in_child(path), "");
    EXPECT_NE(remembered(folder, "vendor_option"), "");
    write_file(library, slurp(plugin("ctor_crash")));
    EXPECT_EQ(remembered(folder, "vendor_option"), "") << "an answer about another library";
    EXPECT_NE(in_child(path).find("crashed the probe"), string::npos);
}

// ---- Files -------------------------------------------------------------------------------------

TEST_F(Loader, AsksAgainWhenAVendorLibraryIsReplaced) {
    const string path = folder.copy("vendor_beside"), library = path + ".vendor";
    write_file(library, slurp(plugin("good")));
    settle(path), settle(library);
    EXPECT_EQ(in_child(path), "");
    EXPECT_EQ(remembered(folder, "vendor_beside"), "a test plugin");
    write_file(library, slurp(plugin("ctor_crash")));
    EXPECT_EQ(remembered(folder, "vendor_beside"), "");
    EXPECT_NE(in_child(path).find("crashed the probe"), string::npos);
    EXPECT_NE(in_child(path).find("(remembered)"), string::npos);
    write_file(library, slurp(plugin("good")));
    EXPECT_EQ(in_child(path), "") << "the library is mended, the plugin is as it was";
}

// ---- Surroundings ------------------------------------------------------------------------------

TEST_F(Loader, AsksAgainWhenTheEnvironmentOfVendorLibrariesIsAnother) {
    const string path = folder.copy("vendor_option");
    settle(path);
    ASSERT_EQ(in_child(path), "");
    ASSERT_NE(remembered(folder, "vendor_option"), "");
    for (const char *name : {"OPENBLAS_CORETYPE", "OMP_NUM_THREADS", "LD_LIBRARY_PATH"}) {
        Setting other(name, folder.path());
        EXPECT_EQ(remembered(folder, "vendor_option"), "") << name;
    }
    EXPECT_NE(remembered(folder, "vendor_option"), "");
}

TEST_F(Loader, RemembersWhateverIsSetThatItsNoteDoesNotAskFor) {
    const string path = folder.copy("good");
    settle(path);
    ASSERT_EQ(in_child(path), "");
    Setting other("OMP_NUM_THREADS", "3");
    EXPECT_NE(remembered(folder, "good"), "");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
struct Limit { // of a resource, for a while
    Limit(int resource, rlim_t most) : resource_(resource) {
        getrlimit(static_cast<__rlimit_resource>(resource_), &old_);
        rlimit now = old_;
        now.rlim_cur = most;
        setrlimit(static_cast<__rlimit_resource>(resource_), &now);
    }
    ~Limit() { setrlimit(static_cast<__rlimit_resource>(resource_), &old_); }
    int resource_;
    rlimit old_;
};

TEST_F(Loader, AsksAgainUnderAnotherLimitOfMemoryAndRemembersThatItDidNotComeBack) {
    const string path = folder.copy("vendor_greedy");
    settle(path);
    ASSERT_EQ(in_child(path), "");
    ASSERT_NE(remembered(folder, "vendor_greedy"), "");
    {
        Limit address(RLIMIT_AS, 900 << 20);
        EXPECT_EQ(remembered(folder, "vendor_greedy"), "");
        const string text = in_child(path, 1000);
        EXPECT_NE(text.find("did not come back within 1000 ms, in start, with "), string::npos)
            << text;
        EXPECT_NE(text.find("MiB of memory to map"), string::npos) << text;
        EXPECT_NE(text.find("ulimit"), string::npos) << text;
        const auto begin = std::chrono::steady_clock::now();
        EXPECT_NE(in_child(path).find("(remembered)"), string::npos);
        EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(900));
    }
    EXPECT_EQ(in_child(path), "");
}

TEST_F(Loader, GivesTheProbeNoMoreProcessorTimeThanAStartNeeds) {
    Limit address(RLIMIT_AS, 900 << 20);
    const string text = in_child(folder.copy("vendor_greedy"), 120000); // of a busy machine's time
    EXPECT_NE(text.find("used up the 5 s of processor time it had, in start"), string::npos)
        << text;
}

TEST_F(Loader, SaysThatDescriptorsAreMissingAndRecovers) {
    const string path = folder.copy("vendor_missing");
    std::vector<int> taken;
    for (int fd; (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0 && fd < 200;)
        taken.push_back(fd);
    for (const int left : {0, 1, 2, 3, 4}) {
        Limit files(RLIMIT_NOFILE, static_cast<rlim_t>(taken.back() + 1 + left));
        const Outcome o = load(path);
        if (left < 4) {
            EXPECT_TRUE(o.says("Too many open files")) << left << ": " << o.text;
            EXPECT_TRUE(o.says("raise the limit of open files")) << left << ": " << o.text;
        }
        Setting search("TENON_PLUGIN_PATH", folder.path());
        int64_t n = 0;
        if (left == 0) {
            EXPECT_EQ(tn_plugin_scan(&n), TN_ERR_IO);
            EXPECT_NE(string(tn_error_message()).find("Too many open files"), string::npos)
                << tn_error_message();
        }
        tn_clear_error();
    }
    for (const int fd : taken) close(fd);
    EXPECT_EQ(load(path).stage(), "vendor");
}
#endif

// ---- What its process wrote --------------------------------------------------------------------

TEST_F(Loader, TellsWhatWasWrittenBeforeTheProbeDied) {
    const Outcome thrown = load(plugin("vendor_throws")), quits = load(plugin("vendor_quits"));
    EXPECT_TRUE(
        thrown.says("SIGABRT, in start; it wrote: terminate called after throwing an instance "
                    "of 'std::runtime_error'   what():  no more licences"))
        << thrown.text;
    EXPECT_TRUE(thrown.says("catch exceptions inside the plugin")) << thrown.text;
    EXPECT_TRUE(quits.says("exit status 1, in start; it wrote: ==7==ASan runtime")) << quits.text;
    EXPECT_TRUE(quits.says("both with the sanitizer, or both without")) << quits.text;
    EXPECT_TRUE(load(plugin("vendor_throws")).says("no more licences (remembered)"));
}

TEST_F(Loader, TellsWhatAPluginWroteThatCannotStart) {
    const Outcome o = load(plugin("vendor_grumbles"));
    EXPECT_EQ(o.stage(), "vendor") << o.text;
    EXPECT_TRUE(o.says("no licence; it wrote: vendor: the licence server does not answer"))
        << o.text;
}

TEST_F(Loader, NamesTheLibraryThatAPluginIsLinkedToAndMisses) {
    string bytes = slurp(plugin("vendor_grumbles"));
    const string from = "libc.so.6", to = "libq.so.9";
    const size_t at = bytes.find(from);
    ASSERT_NE(at, string::npos);
    bytes.replace(at, from.size(), to);
    const string path = folder / "needs_absent.so";
    write_file(path, bytes);
    const Outcome o = load(path);
    EXPECT_EQ(o.code, TN_ERR_NOTFOUND);
    EXPECT_EQ(o.stage(), "dlopen") << o.text;
    EXPECT_TRUE(o.says("fix:   install libq.so.9")) << o.text;
    Setting search("TENON_PLUGIN_PATH", folder.path());
    const auto all = scan();
    ASSERT_NE(find(all, "vendor_grumbles"), nullptr);
    EXPECT_EQ(find(all, "vendor_grumbles")->state, TN_PLUGIN_UNUSABLE);
}

TEST(Advice, FitsWhatIsLacking) {
    const auto advice = [](tni_stage stage, tn_status code, const char *cause) {
        char out[TNI_DETAIL_BYTES];
        return string(tni_advice(stage, code, cause, out, sizeof out));
    };
    const char *full = "no OpenBLAS can be used (install libopenblas0): tried /l.so (failed to map "
                       "segment from shared object)";
    EXPECT_NE(advice(TNI_STAGE_VENDOR, TN_ERR_UNSUPPORTED, full).find("ulimit -v"), string::npos);
    const char *silent = "start returned DEVICE and did not say why";
    EXPECT_NE(advice(TNI_STAGE_VENDOR, TN_ERR_DEVICE, silent).find("host->fail"), string::npos);
    const char *early = "crashed the probe with SIGSEGV, in the start of the probe";
    EXPECT_NE(advice(TNI_STAGE_PROBE, TN_ERR_PLUGIN, early).find("ulimit -a"), string::npos);
    const char *linked = "tried /l.so (libgfortran.so.5: cannot open shared object file: No such "
                         "file or directory)";
    EXPECT_EQ(advice(TNI_STAGE_VENDOR, TN_ERR_UNSUPPORTED, linked),
              "install libgfortran.so.5, or add its folder to LD_LIBRARY_PATH");
}

} // namespace
