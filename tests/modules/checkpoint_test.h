// checkpoint_test.h - what the tests of modules/io share: a folder of their own, and two tensors.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_CHECKPOINT_TEST_H
#define TENON_TESTS_CHECKPOINT_TEST_H

#include <tenon/checkpoint.h>

#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "tests/support/support.h"

inline std::string slurp(const std::string &path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline void spill(const std::string &path, const std::string &bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// A file as another program would write it.
inline std::string foreign(const std::string &header, const std::string &data) {
    std::string out;
    for (int i = 0; i < 8; i++) out += static_cast<char>(header.size() >> 8 * i & 255);
    return out + header + data;
}

class Checkpoint : public Tenon {
  protected:
    void SetUp() override {
        Tenon::SetUp();
        const char *base = getenv("TEST_TMPDIR");
        std::string pattern = std::string(base ? base : "/tmp") + "/checkpoint-XXXXXX";
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
        path_ = folder_ + "/model.safetensors";
        w_ = from({1, 2, 3, 4, 5, 6}, {2, 3});
        b_ = from({-1, -2, -3});
        fill(1);
    }

    void TearDown() override {
        for (const std::string &name : files()) unlink((folder_ + "/" + name).c_str());
        rmdir(folder_.c_str());
        Tenon::TearDown();
    }

    std::vector<std::string> files() const {
        std::vector<std::string> out;
        DIR *dir = opendir(folder_.c_str());
        for (dirent *e; dir && (e = readdir(dir));)
            if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                out.push_back(e->d_name);
        if (dir) closedir(dir);
        return out;
    }

    // w becomes k..., b becomes -k...
    void fill(double k) {
        const Numbers w = {k, k + 1, k + 2, k + 3, k + 4, k + 5}, b = {-k, -k - 1, -k - 2};
        ASSERT_EQ(tn_write(w_, w.data(), sizeof(double) * 6), TN_OK);
        ASSERT_EQ(tn_write(b_, b.data(), sizeof(double) * 3), TN_OK);
    }

    bool filled(double k) const {
        return numbers(w_) == Numbers{k, k + 1, k + 2, k + 3, k + 4, k + 5} &&
               numbers(b_) == Numbers{-k, -k - 1, -k - 2};
    }

    std::vector<tn_named_tensor> items() const { return {{"fc.weight", w_}, {"fc.bias", b_}}; }
    tn_status save() const { return tn_checkpoint_save(path_.c_str(), items().data(), 2); }
    tn_status load() const { return tn_checkpoint_load(path_.c_str(), items().data(), 2); }

    std::string folder_, path_;
    tn_tensor *w_ = nullptr, *b_ = nullptr;
};

#endif
