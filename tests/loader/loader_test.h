// loader_test.h - what the tests of the loader share: files to damage, loading with the error as a
// value, and a fixture whose plugins, cache and folders are its own.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_LOADER_TEST_H
#define TENON_TESTS_LOADER_TEST_H

#include <gtest/gtest.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <tenon/inspect.h>
#include <tenon/tenon.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

extern "C" {
#include "core/loader/discover.h"
#include "core/loader/verdict.h"
// Hidden symbols of the core: the tests are linked to its objects. The headers that declare these
// are C11 with _Atomic in them, which C++17 cannot read.
uint64_t tni_registry_hash(void);
uint64_t tni_heap_fail_after(uint64_t n, bool forever);
bool tni_plugins_ready(void);
const char *tni_plugin_list(void);
void tni_probe_limit_set(uint32_t ms);
bool tni_text_valid(const char *, uint64_t);
void tni_text_clean(char *);
}

using std::string;

// ---- Files -------------------------------------------------------------------------------------

inline string real(const string &path) {
    char out[PATH_MAX];
    return realpath(path.c_str(), out) ? out : path;
}

// The folder of the hostile plugins, from the path of one of them.
inline const string &plugins() {
    static const string folder = [] {
        const char *one = getenv("TEST_PLUGIN");
        const string path = real(one ? one : "");
        return path.substr(0, path.rfind('/'));
    }();
    return folder;
}

inline string plugin(const string &name) { return plugins() + "/" + name + ".so"; }

inline string slurp(const string &path) {
    std::ifstream f(path, std::ios::binary);
    std::stringstream text;
    text << f.rdbuf();
    return text.str();
}

inline void write_file(const string &path, const string &bytes) {
    unlink(path.c_str());
    std::ofstream(path, std::ios::binary) << bytes;
    chmod(path.c_str(), 0644);
}

// A folder nobody else can write to; it goes with the object.
class Folder {
  public:
    Folder() {
        const char *base = getenv("TEST_TMPDIR");
        string name = string(base ? base : "/tmp") + "/loader.XXXXXX";
        path_ = mkdtemp(name.data()) ? real(name) : "";
    }
    ~Folder() {
        chmod(path_.c_str(), 0700);
        const string command = "rm -rf '" + path_ + "'";
        if (!path_.empty() && system(command.c_str()) != 0) ADD_FAILURE() << command;
    }
    string operator/(const string &name) const { return path_ + "/" + name; }
    const string &path() const { return path_; }
    string copy(const string &name, const string &as = "") const {
        const string to = path_ + "/" + (as.empty() ? name : as) + ".so";
        write_file(to, slurp(plugin(name)));
        return to;
    }

  private:
    string path_;
};

struct Setting { // an environment variable, for a while
    Setting(const char *name, const string &value) : name_(name) {
        const char *old = getenv(name);
        had_ = old != nullptr;
        old_ = old ? old : "";
        setenv(name, value.c_str(), 1);
    }
    ~Setting() {
        if (had_)
            setenv(name_, old_.c_str(), 1);
        else
            unsetenv(name_);
    }
    const char *name_;
    string old_;
    bool had_;
};

// ---- Loading -----------------------------------------------------------------------------------

struct Outcome {
    tn_status code;
    string text;
    bool says(const string &what) const { return text.find(what) != string::npos; }
    string stage() const {
        const size_t at = text.find("stage: ");
        return at == string::npos ? "" : text.substr(at + 7, text.find('\n', at) - at - 7);
    }
    long lines() const { return 1 + std::count(text.begin(), text.end(), '\n'); }
};

inline Outcome load(const string &path) {
    tn_clear_error();
    Outcome o{tn_plugin_load(path.c_str()), tn_error_message()};
    tn_clear_error();
    return o;
}

inline bool is_mapped(const string &path) {
    return slurp("/proc/self/maps").find(path) != string::npos;
}

// Refused at this stage, with a short error that names file and cause; nothing changed.
inline void expect_refused(const string &path, const string &stage, const string &cause) {
    const uint64_t before = tni_registry_hash();
    const Outcome o = load(path);
    EXPECT_NE(o.code, TN_OK) << path;
    EXPECT_EQ(o.stage(), stage) << o.text;
    EXPECT_TRUE(o.says(cause)) << o.text;
    EXPECT_TRUE(o.says(path)) << o.text;
    EXPECT_LE(o.lines(), 6) << o.text;
    EXPECT_EQ(tni_registry_hash(), before) << path;
}

struct Line {
    string stage;
    bool ok;
    string detail;
};
inline void collect(void *user, const char *stage, bool ok, const char *detail) {
    static_cast<std::vector<Line> *>(user)->push_back({stage, ok, detail});
}
inline std::vector<Line> why(const string &name) {
    std::vector<Line> lines;
    tn_clear_error();
    EXPECT_EQ(tn_plugin_why(name.c_str(), collect, &lines), TN_OK) << tn_error_message();
    tn_clear_error();
    return lines;
}

inline std::vector<tn_plugin_info> scan() {
    int64_t n = 0;
    EXPECT_EQ(tn_plugin_scan(&n), TN_OK) << tn_error_message();
    std::vector<tn_plugin_info> all(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; i++) {
        all[static_cast<size_t>(i)].size = sizeof(tn_plugin_info);
        EXPECT_EQ(tn_plugin_at(i, &all[static_cast<size_t>(i)]), TN_OK);
    }
    return all;
}

inline const tn_plugin_info *find(const std::vector<tn_plugin_info> &all, const string &id) {
    for (const auto &info : all)
        if (id == info.id) return &info;
    return nullptr;
}

// Every test has its own cache and finds the plugins of no installation.
class Loader : public ::testing::Test {
  protected:
    void SetUp() override { tn_clear_error(); }
    void TearDown() override {
        EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a probe is left behind";
        tni_probe_limit_set(0);
    }
    Folder folder;
    Setting cache{"XDG_CACHE_HOME", folder.path()};
    Setting home{"TENON_HOME", folder / "home"};
    Setting data{"XDG_DATA_HOME", folder / "data"};
    Setting policy{"TENON_PROBE_POLICY", "require"};
    Setting probe{"TENON_PROBE", real(getenv("TEST_PROBE") ? getenv("TEST_PROBE") : "")};
};

#endif
