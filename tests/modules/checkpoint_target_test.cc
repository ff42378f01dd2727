// checkpoint_target_test.cc - modules/io: what a path stands for is kept (links, owners, permissions)
// or left alone (pipes, devices, folders), and headers may be as long as the format allows.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/modules/checkpoint_test.h"

namespace {

// ---- What a path stands for ----

class CheckpointTarget : public Checkpoint {
  protected:
    std::string in_folder(const char *name) const { return folder_ + "/" + name; }

    mode_t mode_of(const std::string &path) const { // 0 if there is nothing
        struct stat st = {};
        return lstat(path.c_str(), &st) ? 0 : st.st_mode;
    }

    void link_to(const std::string &to, const std::string &link) const {
        unlink(link.c_str());
        ASSERT_EQ(symlink(to.c_str(), link.c_str()), 0);
    }

    void refused(const char *why) {
        const std::vector<std::string> before = files();
        EXPECT_EQ(save(), TN_ERR_IO);
        EXPECT_TRUE(error_is(TN_ERR_IO, {"model.safetensors", why, "untouched"}));
        EXPECT_EQ(files(), before);
    }
};

TEST_F(CheckpointTarget, OfALinkIsTheFileItLeadsTo) {
    const std::string real = in_folder("run5.safetensors");
    link_to("run5.safetensors", in_folder("latest"));
    link_to(in_folder("latest"), path_);
    for (double k = 1; k < 4; k++) { // the first time the links lead to nothing yet
        fill(k);
        ASSERT_EQ(save(), TN_OK) << tn_error_message();
        EXPECT_TRUE(S_ISLNK(mode_of(path_)) && S_ISLNK(mode_of(in_folder("latest"))));
        EXPECT_TRUE(S_ISREG(mode_of(real)));
        EXPECT_EQ(slurp(path_), slurp(real));
    }
    EXPECT_TRUE(S_ISREG(mode_of(real + ".prev")));
    EXPECT_EQ(files().size(), 4u);
    ASSERT_EQ(load(), TN_OK) << tn_error_message();
    EXPECT_TRUE(filled(3));
    spill(real, "rubbish, but long enough for a length");
    load();
    EXPECT_TRUE(error_is(TN_ERR_FORMAT, {"run5.safetensors.prev"}));
}

TEST_F(CheckpointTarget, StaysAsItIsUnlessItIsARegularFile) {
    ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
    refused("regular file");
    EXPECT_TRUE(S_ISFIFO(mode_of(path_)));
    link_to("/dev/null", path_);
    refused("regular file");
    EXPECT_TRUE(S_ISCHR(mode_of("/dev/null")) && S_ISLNK(mode_of(path_)));
    link_to(folder_, path_);
    refused("regular file");
    link_to("model.safetensors", path_); // leads to itself
    refused("Too many levels");
    link_to("nowhere/file", path_);
    refused("a link to");
    const int gone = open(in_folder("gone").c_str(), O_CREAT | O_RDWR, 0600);
    unlink(in_folder("gone").c_str());
    link_to("/proc/self/fd/" + std::to_string(gone), path_);
    refused("no name");
    close(gone);
}

TEST_F(CheckpointTarget, KeepsItsOwnerAndPermissions) {
    ASSERT_EQ(save(), TN_OK);
    const mode_t mask = umask(0);
    umask(mask);
    EXPECT_EQ(mode_of(path_) & 07777, 0666 & ~mask);
    for (const mode_t mode : {0600, 0640, 0664, 0666, 0755, 04711}) {
        ASSERT_EQ(chmod(path_.c_str(), mode), 0);
        ASSERT_EQ(save(), TN_OK) << tn_error_message();
        EXPECT_EQ(mode_of(path_) & 07777, mode & 0777);
    }
    if (geteuid() != 0) return; // others cannot give files away
    ASSERT_EQ(chown(path_.c_str(), 1234, 4321), 0);
    ASSERT_EQ(chmod(path_.c_str(), 0440), 0);
    ASSERT_EQ(save(), TN_OK) << tn_error_message();
    struct stat st = {};
    ASSERT_EQ(stat(path_.c_str(), &st), 0);
    EXPECT_EQ(st.st_uid, 1234u);
    EXPECT_EQ(st.st_gid, 4321u);
    EXPECT_EQ(st.st_mode & 07777, 0440u);
}

// The kernel asks no user for permissions who is root, so the save is somebody else's.
TEST_F(CheckpointTarget, OfSomebodyElseOrReadOnlyIsNotReplaced) {
    if (geteuid() != 0) GTEST_SKIP() << "only root can become somebody else";
    ASSERT_EQ(save(), TN_OK);
    const std::string before = slurp(path_);
    ASSERT_EQ(chmod(folder_.c_str(), 0777), 0);
    const int here = open(".", O_RDONLY | O_DIRECTORY);
    ASSERT_EQ(chdir(folder_.c_str()), 0); // the folders above may be closed to others
    fill(9);
    const auto as_nobody = [&](mode_t mode, const char *why) {
        ASSERT_EQ(chmod(path_.c_str(), mode), 0);
        ASSERT_EQ(seteuid(65534), 0);
        tn_checkpoint_save("model.safetensors", items().data(), 2);
        ASSERT_EQ(seteuid(0), 0);
        EXPECT_TRUE(error_is(TN_ERR_IO, {why, "untouched"}));
        EXPECT_EQ(slurp(path_), before);
        EXPECT_EQ(files(), std::vector<std::string>{"model.safetensors"});
    };
    as_nobody(0666, "keeping its owner and group");
    as_nobody(0644, "writing over it: Permission denied");
    EXPECT_EQ(fchdir(here), 0);
    close(here);
}

TEST_F(CheckpointTarget, HasItsGenerationBeforeOnlyWhereThatMayBe) {
    ASSERT_EQ(save(), TN_OK);
    ASSERT_EQ(mkfifo((path_ + ".prev").c_str(), 0600), 0);
    fill(2);
    ASSERT_EQ(save(), TN_OK) << tn_error_message();
    EXPECT_TRUE(S_ISFIFO(mode_of(path_ + ".prev")));
    ASSERT_EQ(load(), TN_OK) << tn_error_message();
    EXPECT_TRUE(filled(2));
}

// ---- Long headers ----

tn_status save_many(const std::string &path, const std::vector<std::string> &names, tn_tensor *t,
                    bool load) {
    std::vector<tn_named_tensor> items;
    for (const std::string &name : names) items.push_back({name.c_str(), t});
    const auto n = static_cast<int64_t>(items.size());
    return load ? tn_checkpoint_load(path.c_str(), items.data(), n)
                : tn_checkpoint_save(path.c_str(), items.data(), n);
}

TEST_F(Checkpoint, HoldsAsManyTensorsAsTheFormatHasRoomFor) {
    std::vector<std::string> names;
    for (int i = 0; i < 150000; i++) names.push_back("layers." + std::to_string(i) + ".weight");
    tn_tensor *t = from({1});
    ASSERT_EQ(save_many(path_, names, t, false), TN_OK) << tn_error_message();
    ASSERT_EQ(save_many(path_, names, t, true), TN_OK) << tn_error_message();
    names.back() = "other";
    EXPECT_EQ(save_many(path_, names, t, true), TN_ERR_NOTFOUND);
    EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"layers.149999.weight", "that the program has not"}));
}

TEST_F(Checkpoint, IsNotSavedWithAHeaderThatNobodyWouldRead) {
    std::vector<std::string> names;
    for (int i = 0; i < 48000; i++) names.push_back(std::to_string(i) + std::string(1000, 'x'));
    EXPECT_EQ(save_many(path_, names, from({1}), false), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"header", "the format allows 100000000"}));
    EXPECT_TRUE(files().empty());
}

} // namespace
