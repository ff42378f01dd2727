// checkpoint_test.cc - modules/io: what is saved comes back; what is damaged is refused; what fails
// leaves everything as it was. SPDX-License-Identifier: Apache-2.0
#include "tests/modules/checkpoint_test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "modules/math/math_ops.h"

namespace {

// ---- There and back ----

TEST_F(Checkpoint, BringsBackWhatWasSaved) {
    ASSERT_EQ(save(), TN_OK) << tn_error_message();
    fill(100);
    ASSERT_EQ(load(), TN_OK) << tn_error_message();
    EXPECT_TRUE(filled(1));
    EXPECT_EQ(files(), std::vector<std::string>{"model.safetensors"});
}

TEST_F(Checkpoint, BringsBackEveryDtypeAndShape) {
    const tn_dtype dtypes[] = {TN_BOOL, TN_U8,  TN_I8,   TN_I16, TN_I32,
                               TN_I64,  TN_F16, TN_BF16, TN_F32, TN_F64};
    const Shape shapes[] = {{}, {3}, {2, 3}, {0, 3}, {1, 2, 1, 3}};
    std::vector<std::string> names;
    std::vector<tn_named_tensor> out, in;
    for (int i = 0; i < 50; i++) names.push_back("t" + std::to_string(i));
    for (const tn_dtype d : dtypes) {
        for (const Shape &s : shapes) {
            const std::string bytes(64, 1); // a valid bool, too
            out.push_back({names[out.size()].c_str(), tn_from(bytes.data(), ints(s), d)});
            in.push_back({names[in.size()].c_str(), tn_zeros(ints(s), d)});
        }
    }
    const int64_t n = static_cast<int64_t>(out.size());
    ASSERT_EQ(tn_checkpoint_save(path_.c_str(), out.data(), n), TN_OK) << tn_error_message();
    ASSERT_EQ(tn_checkpoint_load(path_.c_str(), in.data(), n), TN_OK) << tn_error_message();
    for (const tn_named_tensor &t : in) {
        const size_t bytes =
            static_cast<size_t>(tn_numel(t.tensor) * tn_dtype_bytes(tn_dtype_of(t.tensor)));
        std::string read(bytes, 0);
        ASSERT_EQ(tn_read(t.tensor, read.data(), bytes), TN_OK);
        EXPECT_EQ(read, std::string(bytes, 1)) << t.name;
    }
}

TEST_F(Checkpoint, SavesViewsInRowMajorOrder) {
    tn_tensor *turned = tn_transpose(w_, 0, 1), *back = from({0, 0, 0, 0, 0, 0}, {3, 2});
    const tn_named_tensor out = {"w", turned}, in = {"w", back};
    ASSERT_EQ(tn_checkpoint_save(path_.c_str(), &out, 1), TN_OK) << tn_error_message();
    ASSERT_EQ(tn_checkpoint_load(path_.c_str(), &in, 1), TN_OK) << tn_error_message();
    EXPECT_EQ(numbers(back), (Numbers{1, 4, 2, 5, 3, 6}));
}

TEST_F(Checkpoint, IsAPlainSafetensorsFile) {
    ASSERT_EQ(save(), TN_OK);
    const std::string bytes = slurp(path_);
    const size_t header =
        static_cast<unsigned char>(bytes[0]) + 256u * static_cast<unsigned char>(bytes[1]);
    EXPECT_EQ(header % 8, 0u);
    EXPECT_EQ(bytes.size(), 8 + header + 9 * sizeof(double));
    const std::string text = bytes.substr(8, header);
    EXPECT_NE(text.find(R"("fc.weight":{"dtype":"F64","shape":[2,3],"data_offsets":[0,48]})"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find(R"("fc.bias":{"dtype":"F64","shape":[3],"data_offsets":[48,72]})"),
              std::string::npos);
}

TEST_F(Checkpoint, LoadsFilesOfOtherProgramsWithoutChecksums) {
    const double data[9] = {7, 8, 9, 10, 11, 12, -7, -8, -9};
    spill(path_, foreign(R"({"fc.bias":{"dtype":"F64","shape":[3],"data_offsets":[48,72]},)"
                         R"("fc.weight":{"dtype":"F64","shape":[2,3],"data_offsets":[0,48]}}  )",
                         std::string(reinterpret_cast<const char *>(data), sizeof data)));
    ASSERT_EQ(load(), TN_OK) << tn_error_message();
    EXPECT_TRUE(filled(7));
}

TEST_F(Checkpoint, OfNothingIsAFileToo) {
    ASSERT_EQ(tn_checkpoint_save(path_.c_str(), nullptr, 0), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_checkpoint_load(path_.c_str(), nullptr, 0), TN_OK) << tn_error_message();
    EXPECT_EQ(load(), TN_ERR_NOTFOUND);
    tn_clear_error();
}

// ---- Damage ----

TEST_F(Checkpoint, RefusesEveryTruncation) {
    ASSERT_EQ(save(), TN_OK);
    const std::string whole = slurp(path_);
    fill(100);
    for (size_t n = 0; n < whole.size(); n++) {
        spill(path_, whole.substr(0, n));
        load();
        ASSERT_TRUE(error_is(TN_ERR_FORMAT, {"model.safetensors"})) << n << " bytes";
        ASSERT_TRUE(filled(100)) << n << " bytes";
    }
    spill(path_, whole + "x");
    load();
    EXPECT_TRUE(error_is(TN_ERR_FORMAT, {"gap"}));
}

TEST_F(Checkpoint, RefusesEveryFlippedBit) {
    ASSERT_EQ(save(), TN_OK);
    const std::string whole = slurp(path_);
    fill(100);
    for (size_t bit = 0; bit < 8 * whole.size(); bit++) {
        std::string bytes = whole;
        bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
        spill(path_, bytes);
        load();
        ASSERT_TRUE(error_is(TN_ERR_FORMAT, {"damaged"})) << "bit " << bit;
        ASSERT_TRUE(filled(100)) << "bit " << bit;
    }
}

TEST_F(Checkpoint, NamesTheFieldThatIsMalformed) {
    const std::string b = R"("fc.bias":{"dtype":"F64","shape":[3],"data_offsets":[48,72]})";
    const auto with_w = [&](const std::string &w) { return "{" + b + ",\"fc.weight\":" + w + "}"; };
    const struct {
        std::string header;
        const char *part;
    } cases[] = {
        {"", "byte 8"},
        {"[]", "byte 8: the header must start with '{'"},
        {" {}", "byte 8"},
        {"{\"a\":", "byte"},
        {"{\"a\":1}x", "byte"},
        {"{\"a\":{},\"a\":{}}", "duplicate"},
        {"{\"a\":1}", "field a"},
        {"{\"__metadata__\":1}", "__metadata__"},
        {"{\"__metadata__\":{\"x\":1}}", "__metadata__.x"},
        {"{\"__metadata__\":{\"tenon.format\":\"1\"}}", "checksum"},
        {with_w("{}"), "fc.weight.dtype"},
        {with_w(R"({"dtype":"F65","shape":[2,3],"data_offsets":[0,48]})"), "F65"},
        {with_w(R"({"dtype":3,"shape":[2,3],"data_offsets":[0,48]})"), "fc.weight.dtype"},
        {with_w(R"({"dtype":"F64","shape":6,"data_offsets":[0,48]})"), "fc.weight.shape"},
        {with_w(R"({"dtype":"F64","shape":[2,-3],"data_offsets":[0,48]})"), "fc.weight.shape[1]"},
        {with_w(R"({"dtype":"F64","shape":[2.0,3],"data_offsets":[0,48]})"), "fc.weight.shape[0]"},
        {with_w(R"({"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,48]})"),
         "overflows"},
        {with_w(R"({"dtype":"F64","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,6],)"
                R"("data_offsets":[0,48]})"),
         "at most 16"},
        {with_w(R"({"dtype":"F64","shape":[2,3]})"), "fc.weight.data_offsets"},
        {with_w(R"({"dtype":"F64","shape":[2,3],"data_offsets":[0]})"), "fc.weight.data_offsets"},
        {with_w(R"({"dtype":"F64","shape":[2,3],"data_offsets":[-8,40]})"), "data_offsets"},
        {with_w(R"({"dtype":"F64","shape":[2,3],"data_offsets":[48,0]})"), "data_offsets"},
        {with_w(R"({"dtype":"F64","shape":[2,3],"data_offsets":[32,80]})"), "72 bytes of data"},
        {with_w(R"({"dtype":"F64","shape":[2,3],"data_offsets":[0,40]})"), "spans 40 bytes"},
        {with_w(R"({"dtype":"F64","shape":[2,3],"data_offsets":[8,56]})"), "gap or overlap"},
    };
    fill(100);
    for (const auto &c : cases) {
        spill(path_, foreign(c.header, std::string(72, 0)));
        load();
        EXPECT_TRUE(error_is(TN_ERR_FORMAT, {c.part})) << c.header;
        EXPECT_TRUE(filled(100)) << c.header;
    }
}

TEST_F(Checkpoint, RefusesAHeaderLongerThanTheFileBeforeMakingRoomForIt) {
    spill(path_, std::string(8, '\xff') + "{}");
    load();
    EXPECT_TRUE(error_is(TN_ERR_FORMAT, {"byte 0", "2 bytes follow"}));
}

TEST_F(Checkpoint, RefusesBytesThatAreNoBool) {
    const char yes = 1;
    tn_tensor *t = tn_from(&yes, ints({1}), TN_BOOL);
    const tn_named_tensor item = {"t", t};
    spill(path_, foreign(R"({"t":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", "\x02"));
    tn_checkpoint_load(path_.c_str(), &item, 1);
    EXPECT_TRUE(error_is(TN_ERR_FORMAT, {"'t'", "2 is not a bool"}));
    EXPECT_EQ(tn_item(t), 1);
}

TEST_F(Checkpoint, PointsToTheGenerationBefore) {
    ASSERT_EQ(save(), TN_OK);
    ASSERT_EQ(save(), TN_OK);
    spill(path_, "rubbish, but long enough for a length");
    load();
    EXPECT_TRUE(error_is(TN_ERR_FORMAT, {"the one before it is", ".prev"}));
}

// ---- A program that does not fit ----

TEST_F(Checkpoint, RefusesOtherNamesShapesAndDtypesAndChangesNothing) {
    ASSERT_EQ(save(), TN_OK);
    fill(100);
    tn_tensor *wide = full({3, 2}, 0), *narrow = full({2, 3}, 0, TN_F32);
    const auto try_load = [&](std::vector<tn_named_tensor> list) {
        return tn_checkpoint_load(path_.c_str(), list.data(), static_cast<int64_t>(list.size()));
    };
    try_load({{"fc.bias", b_}, {"fc.weight", wide}});
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"fc.weight", "f64[2,3] in the file", "f64[3,2]"}));
    try_load({{"fc.bias", b_}, {"fc.weight", narrow}});
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"fc.weight", "f64[2,3] in the file", "f32[2,3]"}));
    try_load({{"fc.bias", b_}});
    EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"fc.weight"}));
    try_load({{"fc.bias", b_}, {"fc.weight", w_}, {"more", wide}});
    EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"no tensor 'more'"}));
    try_load({{"fc.bias", b_}, {"fc.bias", w_}});
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"two tensors"}));
    try_load({{"fc.bias", b_}, {"fc.weight", nullptr}});
    EXPECT_NE(tn_error(), TN_OK);
    tn_clear_error();
    EXPECT_TRUE(filled(100));
}

TEST_F(Checkpoint, RefusesTensorsThatCannotBeWrittenAndChangesNoOther) {
    ASSERT_EQ(save(), TN_OK);
    fill(100);
    tn_tensor *expanded = tn_expand(from({0}), ints({3})), *result = tn_neg(param(from({1, 2, 3})));
    for (tn_tensor *bias : {expanded, result}) {
        const tn_named_tensor list[] = {{"fc.weight", w_}, {"fc.bias", bias}};
        tn_checkpoint_load(path_.c_str(), list, 2);
        EXPECT_TRUE(error_is(bias == result ? TN_ERR_GRAD : TN_ERR_INVALID, {"'fc.bias'"}));
        EXPECT_TRUE(filled(100));
    }
}

TEST_F(Checkpoint, RefusesNamesThatCannotBeSaved) {
    const auto try_save = [&](std::vector<tn_named_tensor> list) {
        return tn_checkpoint_save(path_.c_str(), list.data(), static_cast<int64_t>(list.size()));
    };
    try_save({{"", w_}});
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"name"}));
    try_save({{nullptr, w_}});
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"name"}));
    try_save({{"__metadata__", w_}});
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"__metadata__"}));
    try_save({{"a", w_}, {"a", b_}});
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"two tensors are named 'a'"}));
    try_save({{"\xff\xfe", w_}});
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"UTF-8"}));
    EXPECT_TRUE(files().empty());
}

TEST_F(Checkpoint, DoesNothingWhileAnErrorIsPending) {
    tn_raise(TN_ERR_INVALID, "earlier");
    EXPECT_EQ(save(), TN_ERR_INVALID);
    EXPECT_EQ(load(), TN_ERR_INVALID);
    tn_clear_error();
    EXPECT_TRUE(files().empty());
}

// ---- Files that cannot be had ----

TEST_F(Checkpoint, NamesTheFileThatCannotBeOpened) {
    load();
    EXPECT_TRUE(error_is(TN_ERR_IO, {"model.safetensors", "No such file"}));
    ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
    load();
    EXPECT_TRUE(error_is(TN_ERR_IO, {"regular file"}));
    tn_checkpoint_load(folder_.c_str(), items().data(), 2);
    EXPECT_TRUE(error_is(TN_ERR_IO, {"regular file"}));
    tn_checkpoint_save((folder_ + "/none/x").c_str(), items().data(), 2);
    EXPECT_TRUE(error_is(TN_ERR_IO, {"none/x", "No such file"}));
    tn_checkpoint_save("/dev/full/x", items().data(), 2);
    EXPECT_TRUE(error_is(TN_ERR_IO, {"Not a directory"}));
    tn_checkpoint_save(folder_.c_str(), items().data(), 2); // the name of a folder
    EXPECT_TRUE(error_is(TN_ERR_IO, {"regular file"}));
}

// ---- Saves that fail ----

TEST_F(Checkpoint, ThatCannotBeWrittenLeavesTheOneBeforeWhole) {
    ASSERT_EQ(save(), TN_OK);
    const std::string before = slurp(path_);
    fill(50);
    signal(SIGXFSZ, SIG_IGN);
    rlimit old, small;
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    for (size_t n = 0; n < before.size(); n++) { // the disk is full after n bytes
        small = old;
        small.rlim_cur = n;
        setrlimit(RLIMIT_FSIZE, &small);
        const tn_status status = save();
        setrlimit(RLIMIT_FSIZE, &old);
        ASSERT_EQ(status, TN_ERR_IO) << n;
        ASSERT_TRUE(error_is(TN_ERR_IO, {"File too large", "untouched"})) << n;
        ASSERT_EQ(slurp(path_), before) << n;
        ASSERT_EQ(files(), std::vector<std::string>{"model.safetensors"}) << n;
    }
    signal(SIGXFSZ, SIG_DFL);
    ASSERT_EQ(load(), TN_OK) << tn_error_message();
    EXPECT_TRUE(filled(1));
}

TEST_F(Checkpoint, KeepsTheGenerationBefore) {
    ASSERT_EQ(save(), TN_OK);
    const std::string first = slurp(path_);
    fill(2);
    ASSERT_EQ(save(), TN_OK);
    EXPECT_EQ(slurp(path_ + ".prev"), first);
    EXPECT_NE(slurp(path_), first);
    fill(3);
    ASSERT_EQ(save(), TN_OK);
    EXPECT_NE(slurp(path_ + ".prev"), first);
    EXPECT_EQ(files().size(), 2u);
}

ino_t ino_of(const std::string &path) {
    struct stat st = {};
    return stat(path.c_str(), &st) ? 0 : st.st_ino;
}

TEST_F(Checkpoint, IsWholeWheneverItsWriterIsKilled) {
    ASSERT_EQ(save(), TN_OK);
    setenv("CHECKPOINT_FILE", path_.c_str(), 1);
    int written = 0;
    for (int round = 0; round < 40; round++) {
        fill(100);
        ASSERT_EQ(save(), TN_OK) << tn_error_message();
        const ino_t before = ino_of(path_);
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) { // Tenon cannot be used in a forked child: this program again, as a writer
            unsetenv("XML_OUTPUT_FILE"); // the report is the parent's
            if (!freopen("/dev/null", "w", stdout)) _exit(126);
            execl("/proc/self/exe", "checkpoint_test", "--gtest_filter=DISABLED_Writer.Writes",
                  "--gtest_also_run_disabled_tests", nullptr);
            _exit(127);
        }
        for (int ms = 0; ino_of(path_) == before && ms < 10000; ms++) usleep(1000);
        usleep(static_cast<useconds_t>(170 * round)); // somewhere in its next saves
        kill(child, SIGKILL);
        waitpid(child, nullptr, 0);
        fill(0);
        ASSERT_EQ(load(), TN_OK) << "round " << round << ": " << tn_error_message();
        written += !filled(100);
    }
    EXPECT_EQ(written, 40);
}

// Not a test: what the one above kills. CHECKPOINT_FILE says where it writes.
TEST(DISABLED_Writer, Writes) {
    const char *path = getenv("CHECKPOINT_FILE");
    ASSERT_NE(path, nullptr);
    for (double k = 0; tn_error() == TN_OK; k++) {
        const tn_scope scope = tn_scope_push();
        const tn_named_tensor items[] = {{"fc.weight", full({2, 3}, k)},
                                         {"fc.bias", full({3}, -k)}};
        tn_checkpoint_save(path, items, 2);
        tn_scope_pop(scope);
    }
}

} // namespace
