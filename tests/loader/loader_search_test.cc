// loader_search_test.cc - where plugins are looked for, whose files are believed, what a listing
// shows, and what the verdicts of tenon-probe are worth.
// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <chrono>
#include <csignal>

#include <tenon/inspect.h>

#include "tests/loader/loader_test.h"

namespace {

// ---- Owners and folders ------------------------------------------------------------------------

// As discovered (not given by path): the plugin path of a scan, and the stages it tells.
string discovered(const string &dir, const string &id) {
    Setting path("TENON_PLUGIN_PATH", dir);
    const auto lines = why(id);
    return lines.empty() ? "" : lines.back().stage + ": " + lines.back().detail;
}

TEST_F(Loader, RefusesADiscoveredPluginThatOthersCanChange) {
    const string path = folder.copy("vendor_missing");
    EXPECT_EQ(discovered(folder.path(), "vendor_missing").substr(0, 6), "vendor");
    for (mode_t mode : {0666, 0664}) {
        chmod(path.c_str(), mode);
        const string text = discovered(folder.path(), "vendor_missing");
        EXPECT_EQ(text.substr(0, 5), "owner") << text;
        EXPECT_NE(text.find("can be changed by"), string::npos) << text;
        EXPECT_NE(text.find("chmod go-w"), string::npos) << text;
    }
    chmod(path.c_str(), 0644);
    for (mode_t mode : {0777, 0770, 01777}) {
        chmod(folder.path().c_str(), mode);
        EXPECT_EQ(discovered(folder.path(), "vendor_missing").substr(0, 5), "owner")
            << std::oct << mode;
    }
}

TEST_F(Loader, RefusesADiscoveredPluginBelowAFolderThatOthersCanSwap) {
    const string parent = folder / "parent", dir = parent + "/child";
    ASSERT_EQ(mkdir(parent.c_str(), 0755) | mkdir(dir.c_str(), 0755), 0);
    write_file(dir + "/vendor_missing.so", slurp(plugin("vendor_missing")));
    EXPECT_EQ(discovered(dir, "vendor_missing").substr(0, 6), "vendor");
    chmod(parent.c_str(), 0777);
    EXPECT_EQ(discovered(dir, "vendor_missing").substr(0, 5), "owner");
    chmod(parent.c_str(), 01777); // as /tmp: others cannot swap what is ours
    EXPECT_EQ(discovered(dir, "vendor_missing").substr(0, 6), "vendor");
}

TEST_F(Loader, OnlyWarnsOfADoubtfulPluginThatIsGivenByPath) {
    const string path = folder.copy("vendor_missing");
    chmod(path.c_str(), 0666);
    testing::internal::CaptureStderr();
    EXPECT_EQ(load(path).stage(), "vendor");
    const string log = testing::internal::GetCapturedStderr();
    EXPECT_NE(log.find("can be changed by everybody"), string::npos) << log;
}

TEST_F(Loader, ResolvesLinksBeforeItJudges) {
    const string dir = folder / "links";
    ASSERT_EQ(mkdir(dir.c_str(), 0755), 0);
    ASSERT_EQ(symlink(folder.copy("vendor_missing").c_str(), (dir + "/vendor_missing.so").c_str()),
              0);
    EXPECT_EQ(discovered(dir, "vendor_missing").substr(0, 6), "vendor");
    chmod(folder.path().c_str(), 0777);
    EXPECT_EQ(discovered(dir, "vendor_missing").substr(0, 5), "owner");
}

TEST_F(Loader, LooksIntoAbsoluteFoldersOnlyAndInAFixedOrder) {
    Setting path("TENON_PLUGIN_PATH", "::.:relative:/one::/two:");
    tn_scope s = tn_scope_push();
    const string text = tn_plugin_paths();
    EXPECT_EQ(text.find("TENON_PLUGIN_PATH\t/one\nTENON_PLUGIN_PATH\t/two\nuser\t" + folder.path() +
                        "/data/tenon/plugins\nbeside libtenon\t"),
              0u)
        << text;
    EXPECT_NE(text.find("built in\t/"), string::npos) << text;
    EXPECT_EQ(text.find("relative"), string::npos) << text;
    tn_scope_pop(s);
}

TEST_F(Loader, ReadsTheFoldersOfABuildTreeFromPluginsPath) {
    const string home = folder / "home";
    for (const char *dir :
         {"home", "backends", "backends/b", "backends/a", "modules", "modules/math"})
        ASSERT_EQ(mkdir((folder / dir).c_str(), 0755), 0);
    write_file(home + "/plugins.path",
               "# a build tree\n../modules/math\n\n../backends/*\n/absolute\n");
    tn_scope s = tn_scope_push();
    const string text = tn_plugin_paths(), beside = "beside libtenon\t" + folder.path();
    EXPECT_NE(
        text.find(beside + "/modules/math\n" + beside + "/backends/a\n" + beside + "/backends/b\n"),
        string::npos)
        << text;
    EXPECT_EQ(text.find("/absolute"), string::npos);
    chmod((home + "/plugins.path").c_str(), 0666);
    EXPECT_EQ(string(tn_plugin_paths()).find("/modules/math"), string::npos)
        << "believed a file others can write";
    tn_scope_pop(s);
}

TEST_F(Loader, SearchesInSafeModeOnlyWhereItWasInstalled) {
    Setting path("TENON_PLUGIN_PATH", "/one");
    tni_search safe = {};
    safe.safe_mode = true;
    char given[] = "/given";
    safe.plugin_path = given;
    tni_places places;
    ASSERT_TRUE(tni_places_make(&safe, &places));
    for (uint32_t i = 0; i < places.n; i++) {
        const string origin = places.items[i].origin;
        EXPECT_TRUE(origin == "beside libtenon" || origin == "built in") << origin;
        EXPECT_EQ(string(places.items[i].path).find(folder.path()), string::npos)
            << "TENON_HOME was believed";
    }
    tni_places_free(&places);
}

// ---- Listings ----------------------------------------------------------------------------------

TEST_F(Loader, ListsPluginsWithoutMappingThemInShortTime) {
    for (const char *name :
         {"start_nothing", "query_null", "wrong_major", "no_note", "vendor_missing"})
        folder.copy(name);
    Setting path("TENON_PLUGIN_PATH", folder.path());
    const auto begin = std::chrono::steady_clock::now();
    const auto all = scan();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    EXPECT_FALSE(is_mapped(folder.path()));
    EXPECT_LT(seconds.count(), 1.0); // 20 ms is the aim; a busy machine is no failure
    const tn_plugin_info *fresh = find(all, "start_nothing"), *major = find(all, "wrong_major"),
                         *none = find(all, "no_note");
    ASSERT_TRUE(fresh && major && none);
    EXPECT_EQ(fresh->state, TN_PLUGIN_NOT_TRIED);
    EXPECT_EQ(string(fresh->origin), "TENON_PLUGIN_PATH");
    EXPECT_EQ(string(fresh->version), "0.1.0");
    EXPECT_EQ(string(fresh->licence), "Apache-2.0");
    EXPECT_EQ(major->state, TN_PLUGIN_REFUSED);
    EXPECT_NE(string(major->why).find("needs ABI 9.x"), string::npos) << major->why;
    EXPECT_EQ(none->state, TN_PLUGIN_REFUSED);
    EXPECT_TRUE(std::is_sorted(all.begin(), all.end(), [](const auto &a, const auto &b) {
        return std::make_pair(string(a.kinds), string(a.id)) <
               std::make_pair(string(b.kinds), string(b.id));
    }));
    tn_plugin_info out = {};
    out.size = sizeof(out);
    EXPECT_EQ(tn_plugin_at(static_cast<int64_t>(all.size()), &out), TN_ERR_INDEX);
    tn_clear_error();
    EXPECT_EQ(tn_plugin_at(-1, &out), TN_ERR_INDEX);
    tn_clear_error();
}

TEST_F(Loader, DoesNotListLibrariesThatLieBesidePlugins) {
    folder.copy("no_note", "libvendor");
    folder.copy("no_note", "odd");
    Setting path("TENON_PLUGIN_PATH", folder.path());
    const auto all = scan();
    EXPECT_EQ(find(all, "libvendor"), nullptr);
    EXPECT_NE(find(all, "odd"), nullptr);
}

TEST_F(Loader, ShowsThatAPluginIsHiddenByAnEarlierOne) {
    const string second = folder / "second";
    ASSERT_EQ(mkdir(second.c_str(), 0755), 0);
    folder.copy("start_nothing");
    write_file(second + "/copy.so", slurp(plugin("start_nothing")));
    Setting path("TENON_PLUGIN_PATH", folder.path() + ":" + second);
    int hidden = 0;
    for (const auto &info : scan())
        hidden += string(info.why).find("hidden by " + folder.path() + "/start_nothing.so") == 0;
    EXPECT_EQ(hidden, 1);
}

TEST_F(Loader, NamesWhatThereIsWhenAskedForAnUnknownPlugin) {
    folder.copy("query_null");
    Setting path("TENON_PLUGIN_PATH", folder.path());
    std::vector<Line> lines;
    EXPECT_EQ(tn_plugin_why("nobody", collect, &lines), TN_ERR_NOTFOUND);
    EXPECT_NE(string(tn_error_message()).find("query_null"), string::npos) << tn_error_message();
    EXPECT_TRUE(lines.empty());
    tn_clear_error();
    EXPECT_EQ(tn_plugin_why(nullptr, collect, &lines), TN_ERR_INVALID);
}

TEST_F(Loader, SaysWhatIsKnownOfOneByNameOrFile) {
    const string second = folder / "second";
    ASSERT_EQ(mkdir(second.c_str(), 0755), 0);
    folder.copy("start_nothing");
    write_file(second + "/copy.plugin", slurp(plugin("start_nothing")));
    write_file(folder / "text.so", "no plugin");
    Setting path("TENON_PLUGIN_PATH", folder.path());
    tn_plugin_info info = {};
    info.size = sizeof(info);
    ASSERT_EQ(tn_plugin_find("start_nothing", &info), TN_OK) << tn_error_message();
    EXPECT_EQ(string(info.path), folder / "start_nothing.so");
    // Another file of the same name is what it is, and hidden by nobody.
    ASSERT_EQ(tn_plugin_find((second + "/copy.plugin").c_str(), &info), TN_OK);
    EXPECT_EQ(string(info.id), "start_nothing");
    EXPECT_EQ(string(info.origin), "given");
    EXPECT_EQ(string(info.why), "");
    EXPECT_EQ(info.state, TN_PLUGIN_NOT_TRIED);
    ASSERT_EQ(tn_plugin_find((folder / "text.so").c_str(), &info), TN_OK);
    EXPECT_EQ(info.state, TN_PLUGIN_REFUSED);
    EXPECT_EQ(string(info.why).find("note: "), 0u) << info.why;
    EXPECT_FALSE(is_mapped(folder.path()));
    EXPECT_EQ(tn_plugin_find((folder / "nowhere.so").c_str(), &info), TN_ERR_NOTFOUND);
    tn_clear_error();
    EXPECT_EQ(tn_plugin_find("nobody", &info), TN_ERR_NOTFOUND);
    tn_clear_error();
    EXPECT_EQ(tn_plugin_find(nullptr, &info), TN_ERR_INVALID);
    tn_clear_error();
    info.size = 0;
    EXPECT_EQ(tn_plugin_find("start_nothing", &info), TN_ERR_INVALID);
    tn_clear_error();
}

// ---- Probe and verdicts ------------------------------------------------------------------------

TEST_F(Loader, RefusesWithoutAProbeOnlyIfThePolicyRequiresOne) {
    Setting none("TENON_PROBE", "/nonexistent/tenon-probe");
    expect_refused(plugin("vendor_missing"), "probe", "tenon-probe was not found");
    Setting attempt("TENON_PROBE_POLICY", "try");
    EXPECT_EQ(load(folder.copy("vendor_missing")).stage(), "vendor");
}

TEST_F(Loader, DoesNotTakeASilentProgramForAProbe) {
    Setting silent("TENON_PROBE", "/bin/true");
    EXPECT_EQ(load(plugin("vendor_missing")).stage(), "probe");
    Setting attempt("TENON_PROBE_POLICY", "try");
    EXPECT_EQ(load(folder.copy("vendor_missing")).stage(), "vendor");
}

// Key, state and number of each, then its text: without the seconds in which it was found, and the
// files, which come in any order.
string verdicts(const Folder &folder) {
    std::istringstream lines(slurp(folder / "tenon/verdicts"));
    string out;
    for (string line; std::getline(lines, line);) {
        std::istringstream words(line);
        string word;
        for (int i = 0; words >> word; i++)
            if (i != 9 && i != 12) out += word + " ";
        out += "\n";
    }
    return out;
}

TEST_F(Loader, RemembersAPluginThatKilledTheProbeUntilTheFileChanges) {
    const string path = folder.copy("ctor_crash");
    EXPECT_FALSE(load(path).says("remembered"));
    EXPECT_TRUE(load(path).says("SIGSEGV, in dlopen (remembered)"));
    EXPECT_NE(verdicts(folder).find(" bad "), string::npos) << verdicts(folder);
    EXPECT_NE(verdicts(folder).find(" crashed the probe"), string::npos) << verdicts(folder);
    Setting search("TENON_PLUGIN_PATH", folder.path());
    const auto all = scan();
    ASSERT_NE(find(all, "ctor_crash"), nullptr);
    EXPECT_EQ(find(all, "ctor_crash")->state, TN_PLUGIN_REFUSED);
    write_file(path, slurp(plugin("vendor_missing")));
    EXPECT_EQ(load(path).stage(), "vendor");
}

TEST_F(Loader, FindsTheSameCausesThoughMemoryHasAnotherNameEachTime) {
    const string path = folder.copy("ctor_memory"), file = folder / "tenon/verdicts";
    EXPECT_FALSE(load(path).says("remembered"));
    const string known = verdicts(folder);
    ASSERT_NE(known.find("SIGSEGV"), string::npos) << slurp(file);
    ASSERT_EQ(unlink(file.c_str()), 0);
    EXPECT_FALSE(load(path).says("remembered"));
    EXPECT_EQ(verdicts(folder), known);
}

TEST_F(Loader, LetsNothingInThatWasWrittenJustNowOnAnOldVerdict) {
    struct stat now = {}, settled = {};
    ASSERT_EQ(stat(folder.copy("good").c_str(), &now), 0);
    settled = now;
    settled.st_ctim.tv_sec -= 60;
    const tni_subject fresh = {&now, "id", "good", 1}, old = {&settled, "id", "good", 1};
    tni_verdict v = {};
    for (const bool ok : {true, false}) {
        v.ok = ok;
        tni_verdict_put(&fresh, &v, "");
        EXPECT_EQ(tni_verdict_get(&fresh, &v), !ok);
        v.ok = ok;
        tni_verdict_put(&old, &v, "");
        EXPECT_TRUE(tni_verdict_get(&old, &v));
        EXPECT_EQ(v.ok, ok);
    }
}

TEST_F(Loader, AsksAgainWhenTheCacheIsDamagedForeignOrUnwritable) {
    const string path = folder.copy("ctor_crash"), file = folder / "tenon/verdicts";
    load(path);
    const string good = slurp(file), known = verdicts(folder);
    ASSERT_TRUE(load(path).says("remembered"));
    for (const string &text :
         {string("\xff\xfe garbage\n"), string("1 "), string(300000, 'x'),
          good.substr(0, good.size() / 2), good.substr(0, good.find(" bad")) + " perhaps\n",
          string(good).replace(0, 1, "1")}) {
        write_file(file, text);
        const Outcome o = load(path);
        EXPECT_EQ(o.stage(), "probe");
        EXPECT_FALSE(o.says("remembered")) << text.substr(0, 200);
        EXPECT_EQ(verdicts(folder), known) << "was not made whole again";
    }
    chmod(file.c_str(), 0666);
    EXPECT_FALSE(load(path).says("remembered")) << "believed a file others can write";
    Setting nowhere("XDG_CACHE_HOME", "/dev/null/cache");
    EXPECT_FALSE(load(path).says("remembered"));
}

TEST_F(Loader, RemembersNothingInAPlaceThatIsNoRegularFile) {
    struct stat now = {}, st = {};
    ASSERT_EQ(stat(folder.copy("good").c_str(), &now), 0);
    const tni_subject of = {&now, "id", "good", 0};
    const string file = folder / "tenon/verdicts", elsewhere = folder / "elsewhere";
    const tni_verdict bad = {};
    tni_verdict_put(&of, &bad, "");
    ASSERT_EQ(unlink(file.c_str()), 0);
    ASSERT_EQ(mkfifo(file.c_str(), 0600), 0);
    tni_verdict_put(&of, &bad, "");
    ASSERT_EQ(lstat(file.c_str(), &st), 0);
    EXPECT_TRUE(S_ISFIFO(st.st_mode));
    ASSERT_EQ(unlink(file.c_str()), 0);
    ASSERT_EQ(symlink(elsewhere.c_str(), file.c_str()), 0);
    tni_verdict_put(&of, &bad, "");
    ASSERT_EQ(lstat(file.c_str(), &st), 0);
    EXPECT_TRUE(S_ISLNK(st.st_mode));
}

TEST_F(Loader, RemembersNothingWhereAFileMayNotGrow) {
    static volatile sig_atomic_t signals;
    struct stat now = {};
    ASSERT_EQ(stat(folder.copy("good").c_str(), &now), 0);
    const tni_subject of = {&now, "id", "good", 0};
    const tni_verdict bad = {};
    struct rlimit before = {};
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit none = {0, before.rlim_max};
    const auto old = signal(SIGXFSZ, [](int) { signals = signals + 1; });
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
    tni_verdict_put(&of, &bad, "");
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, old);
    EXPECT_EQ(signals, 0) << "it would have ended the program";
}

} // namespace
