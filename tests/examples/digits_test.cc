// digits_test.cc - the digits example: strict reading, accuracy, equal seeds, no heap in a warm
// step. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/digits.h"

#include <unistd.h>

#include <cmath>
#include <fstream>
#include <iterator>

#include "examples/digits/data.h"
#include "tests/support/support.h"

namespace {

std::string data_file() { return getenv("DIGITS_CSV") ? getenv("DIGITS_CSV") : ""; }

std::string temporary(const std::string &name) {
    const char *base = getenv("TEST_TMPDIR");
    return std::string(base ? base : "/tmp") + "/" + name + "-" + std::to_string(getpid());
}

// ---- Reading ----

class DigitsFile : public Tenon {
  protected:
    void TearDown() override {
        unlink(path_.c_str());
        Tenon::TearDown();
    }

    // Reads text as a file. What a refused file leaves behind must be what was there before.
    tn_status read(const std::string &text) {
        std::ofstream(path_, std::ios::binary | std::ios::trunc) << text;
        const digits_set before = set_;
        const uint64_t tensors = memory_now().tensors;
        const tn_status status = digits_read(path_.c_str(), &set_);
        if (status) {
            EXPECT_EQ(set_.pixels, before.pixels);
            EXPECT_EQ(memory_now().tensors, tensors);
        }
        return status;
    }

    std::string path_ = temporary("digits");
    digits_set set_ = {};
};

std::string pixels(int value) { // with a comma behind each
    std::string out;
    for (int i = 0; i < DIGITS_PIXELS; i++) out += std::to_string(value) + ",";
    return out;
}

TEST_F(DigitsFile, ReadsAllOfTheRealOne) {
    digits_set all;
    ASSERT_EQ(digits_read(data_file().c_str(), &all), TN_OK) << tn_error_message();
    EXPECT_EQ(all.n, 1797);
    EXPECT_EQ(shape(all.pixels), (Shape{1797, 64}));
    EXPECT_EQ(shape(all.labels), (Shape{1797}));
    const float *first = static_cast<float *>(tn_data(all.pixels));
    EXPECT_EQ(first[2], 5 / 16.f);
    EXPECT_EQ(static_cast<int64_t *>(tn_data(all.labels))[1796], 8);
}

TEST_F(DigitsFile, NeedsNoLastLineEnd) {
    ASSERT_EQ(read(pixels(16) + "9\n" + pixels(0) + "0"), TN_OK) << tn_error_message();
    EXPECT_EQ(set_.n, 2);
}

TEST_F(DigitsFile, IsRefusedByLineAndColumn) {
    const std::string good = pixels(3) + "7\n";
    const struct {
        std::string text;
        const char *where, *what;
    } cases[] = {
        {"", ":1:1:", "65 numbers"},
        {"\n", ":1:1:", "the line's end"},
        {good + "\n" + good, ":2:1:", "the line's end"},
        {good + "17," + pixels(3), ":2:1:", "a pixel from 0 to 16, found '1'"},
        {good + "1.5", ":2:2:", "a comma"},
        {good + "-1", ":2:1:", "found '-'"},
        {good + "+1", ":2:1:", "found '+'"},
        {good + " 1", ":2:1:", "0x20"},
        {good + "016,", ":2:3:", "a comma"},
        {pixels(3) + "a\n", ":1:129:", "a label from 0 to 9, found 'a'"},
        {pixels(3) + "10\n", ":1:129:", "a label"},
        {pixels(3) + "7,1\n", ":1:130:", "the line's end, found ','"},
        {pixels(3) + "7\r\n", ":1:130:", "0x0d"},
        {pixels(3), ":1:129:", "the end of the file"},
        {pixels(3) + "\n", ":1:129:", "the line's end"},
        {good + std::string("1\0", 2), ":2:2:", "0x00"},
    };
    for (const auto &c : cases) {
        read(c.text);
        EXPECT_TRUE(error_is(TN_ERR_FORMAT, {c.where, c.what})) << c.text;
    }
    EXPECT_EQ(digits_read("/", &set_), TN_ERR_IO);
    tn_clear_error();
}

TEST_F(DigitsFile, SurvivesEveryTruncationAndEveryChangedByte) {
    const std::string good = pixels(3) + "7\n" + pixels(12) + "1\n";
    for (size_t n = 0; n < good.size(); n++) {
        read(good.substr(0, n));
        ASSERT_TRUE(tn_error() == TN_OK || tn_error() == TN_ERR_FORMAT) << n;
        tn_clear_error();
        for (const char c : {'\0', '\n', ',', '9', 'x', '\xff'}) {
            std::string bytes = good;
            bytes[n] = c;
            read(bytes);
            ASSERT_TRUE(tn_error() == TN_OK || tn_error() == TN_ERR_FORMAT) << n;
            tn_clear_error();
        }
    }
}

// ---- Training ----

class Digits : public Tenon {
  protected:
    digits_result run(const char *provider, uint64_t seed, int epochs = 0) {
        const std::string data = data_file(), checkpoint = temporary("weights");
        digits_opts opts = {};
        opts.data = data.c_str(), opts.checkpoint = checkpoint.c_str();
        opts.provider = provider, opts.seed = seed, opts.epochs = epochs;
        digits_result r;
        EXPECT_EQ(digits_run(&opts, &r), TN_OK) << tn_error_message();
        unlink(checkpoint.c_str());
        unlink((checkpoint + ".prev").c_str());
        return r;
    }
};

TEST_F(Digits, AreRecognisedByEachProvider) {
    for (const char *provider : {"cpu_ref", "cpu_blas"}) {
        double sum = 0, slowest = 0;
        for (uint64_t seed = 0; seed < 5; seed++) {
            const digits_result r = run(provider, seed);
            EXPECT_EQ(r.accuracy, r.reloaded_accuracy);
            EXPECT_EQ(r.n_train + r.n_test, 1797);
            sum += r.accuracy / 5;
            slowest = fmax(slowest, r.seconds);
        }
        EXPECT_GE(sum, 0.97) << provider;
        EXPECT_LE(slowest, 60) << provider;
    }
}

TEST_F(Digits, EqualSeedsTrainAlike) {
    for (const char *provider : {"cpu_ref", "cpu_blas"}) {
        const digits_result a = run(provider, 3, 2), b = run(provider, 3, 2),
                            c = run(provider, 4, 2);
        EXPECT_EQ(a.loss, b.loss) << provider;
        EXPECT_NE(a.loss, c.loss) << provider;
    }
    EXPECT_NEAR(run("cpu_ref", 3, 1).loss, run("cpu_blas", 3, 1).loss, 1e-4);
}

TEST_F(Digits, UnknownProvidersAndFilesAreErrors) {
    digits_opts opts = {};
    digits_result r;
    const std::string data = data_file();
    opts.data = data.c_str(), opts.checkpoint = "/nonexistent/x", opts.provider = "cpu_none";
    digits_run(&opts, &r);
    EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"cpu_none"}));
    opts.provider = nullptr, opts.data = "/nonexistent/y";
    digits_run(&opts, &r);
    EXPECT_TRUE(error_is(TN_ERR_IO, {"/nonexistent/y"}));
    opts.data = data.c_str(), opts.epochs = 1;
    digits_run(&opts, &r);
    EXPECT_TRUE(error_is(TN_ERR_IO, {"/nonexistent/x"}));
}

} // namespace
