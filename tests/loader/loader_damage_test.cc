// loader_damage_test.cc - files that are cut, flipped, of another kind, replaced, or carry a
// malformed note: refused before a byte of them is mapped, or contained by the probe.
// SPDX-License-Identifier: Apache-2.0
#include <elf.h>

#include <cstring>
#include <random>

#include "tests/loader/loader_test.h"

namespace {

// ---- Damaged files -----------------------------------------------------------------------------

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t stride = 23; // a sanitized probe takes long to start
#else
constexpr size_t stride = 1;
#endif

// Cuts the file to every length below `end`, longest first.
void expect_every_cut_refused(const string &path, size_t end) {
    const uint64_t before = tni_registry_hash();
    for (size_t n = end; n-- > 0;) {
        ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(n)), 0);
        const Outcome o = load(path);
        ASSERT_EQ(o.stage(), "note") << "cut to " << n << ": " << o.text;
    }
    EXPECT_FALSE(is_mapped(path));
    EXPECT_EQ(tni_registry_hash(), before);
}

TEST_F(Loader, RefusesEveryTruncationBeforeItIsMapped) {
    Setting off("TENON_PROBE_POLICY", "off");
    const string whole = slurp(plugin("vendor_missing")), path = folder / "cut.so";
    ASSERT_GT(whole.size(), 4096u);
    write_file(path, whole);
    expect_every_cut_refused(path, whole.size());
}

TEST_F(Loader, RefusesEveryTruncationOfAFileWithoutSections) {
    Setting off("TENON_PROBE_POLICY", "off");
    string whole = slurp(plugin("vendor_missing"));
    Elf64_Ehdr h;
    memcpy(&h, whole.data(), sizeof(h));
    h.e_shoff = 0, h.e_shnum = h.e_shstrndx = 0;
    memcpy(whole.data(), &h, sizeof(h));
    size_t end = 0; // of the last segment
    for (size_t i = 0; i < h.e_phnum; i++) {
        Elf64_Phdr p;
        memcpy(&p, whole.data() + h.e_phoff + i * sizeof(p), sizeof(p));
        end = std::max<size_t>(end, p.p_offset + p.p_filesz);
    }
    const string path = folder / "bare.so";
    write_file(path, whole.substr(0, end));
    expect_every_cut_refused(path, end);
    write_file(path, whole.substr(0, end));
    EXPECT_EQ(load(path).stage(), "vendor") << "sections are not needed";
}

// Offsets of headers, note and dynamic section, and of all that is used of the first 4 KiB: hash
// tables, symbols, strings, versions and relocations.
std::vector<size_t> interesting(const string &file) {
    std::vector<size_t> out;
    Elf64_Ehdr h;
    memcpy(&h, file.data(), sizeof(h));
    std::vector<bool> in(file.size());
    for (size_t i = 0; i < h.e_phoff + h.e_phnum * sizeof(Elf64_Phdr); i++) in[i] = true;
    for (size_t i = 0; i < h.e_phnum; i++) {
        Elf64_Phdr p;
        memcpy(&p, file.data() + h.e_phoff + i * sizeof(p), sizeof(p));
        const bool whole =
            p.p_type == PT_NOTE || p.p_type == PT_DYNAMIC; // else: its part of the first page
        if (!whole && p.p_type != PT_LOAD) continue;
        for (size_t k = p.p_offset; k < p.p_offset + p.p_filesz; k++)
            in[k] = in[k] || whole || k < 4096;
    }
    for (size_t i = 0; i < file.size(); i++)
        if (in[i]) out.push_back(i);
    return out;
}

// A flipped bit of code can make a plugin that loads, in the probe too. Nothing else may be mapped.
void expect_mapped_only_if_the_probe_agreed(const string &path) {
    if (!is_mapped(path)) return;
    for (const Line &line : why(path)) {
        if (line.stage != "probe") continue;
        EXPECT_TRUE(line.ok && line.detail.find("it load") != string::npos) << line.detail;
    }
}

// The file is one whose start always declines, so no flip may end in a loaded plugin: either the
// checks of its bytes refuse it, or the probe contains what happens, or it declines.
TEST_F(Loader, SurvivesEveryFlippedBitOfHeadersNoteAndDynamicSection) {
    const string whole = slurp(plugin("vendor_missing")), path = folder / "flipped.so";
    const uint64_t before = tni_registry_hash();
    tni_probe_limit_set(2000);
    size_t refused_by_bytes = 0, contained = 0, flips = 0;
    bool mapped = false;
    const auto places = interesting(whole);
    for (size_t i = 0; i < places.size() * 8; i += stride, flips++) {
        string bytes = whole;
        bytes[places[i / 8]] = static_cast<char>(bytes[places[i / 8]] ^ (1 << (i % 8)));
        write_file(path, bytes);
        const Outcome o = load(path);
        ASSERT_NE(o.code, TN_OK) << "byte " << places[i / 8] << " bit " << i % 8;
        refused_by_bytes += o.stage() == "note" || o.stage() == "abi";
        contained += o.stage() == "probe";
        if (!mapped && is_mapped(path)) expect_mapped_only_if_the_probe_agreed(path), mapped = true;
    }
    EXPECT_EQ(tni_registry_hash(), before);
    EXPECT_GT(refused_by_bytes, flips / 20);
    printf("%zu flips: %zu refused by their bytes, %zu contained by the probe\n", flips,
           refused_by_bytes, contained);
}

TEST_F(Loader, SurvivesRandomDamageAnywhere) {
    const string whole = slurp(plugin("vendor_missing")), path = folder / "damaged.so";
    std::mt19937 random(7);
    tni_probe_limit_set(2000);
    for (size_t i = 0; i < 600 / stride; i++) {
        string bytes = whole;
        for (size_t k = 0; k <= i % 8; k++)
            bytes[random() % bytes.size()] = static_cast<char>(random());
        write_file(path, bytes);
        ASSERT_NE(load(path).code, TN_OK) << "attempt " << i;
    }
    expect_mapped_only_if_the_probe_agreed(path);
}

TEST_F(Loader, RefusesFilesOfAnotherKindAndSaysWhich) {
    const string whole = slurp(plugin("good")), path = folder / "other.so";
    const auto with = [&](size_t at, char value) {
        string bytes = whole;
        bytes[at] = value;
        return bytes;
    };
    struct {
        string bytes, cause;
    } cases[] = {{"", "too short"},
                 {"hello\n", "too short"},
                 {string(4096, 'x'), "not an ELF file"},
                 {"!<arch>\n" + string(100, ' '), "not an ELF file"},
                 {with(EI_CLASS, ELFCLASS32), "not a 64-bit ELF file"},
                 {with(EI_DATA, ELFDATA2MSB), "not a little-endian ELF file"},
                 {with(EI_OSABI, ELFOSABI_FREEBSD), "another system"},
                 {with(16, ET_EXEC), "not a shared object (ELF type 2)"},
                 {with(16, ET_REL), "not a shared object (ELF type 1)"},
                 {with(18, EM_SPARC), "built for another machine (ELF machine 2"},
                 {whole.substr(0, 64) + string(whole.size() - 64, '\x5a'), ""}};
    for (const auto &c : cases) {
        write_file(path, c.bytes);
        expect_refused(path, "note", c.cause);
    }
    expect_refused(real("/proc/self/exe"), "note", "");
}

TEST_F(Loader, RefusesWhatIsNoRegularFileWithoutBlocking) {
    const string fifo = folder / "fifo.so";
    ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
    expect_refused(fifo, "found", "not a regular file");
    expect_refused(folder.path(), "found", "not a regular file");
    expect_refused("/dev/zero", "found", "not a regular file");
    EXPECT_EQ(load(folder / "absent.so").code, TN_ERR_NOTFOUND);
    const string loop = folder / "loop.so";
    ASSERT_EQ(symlink(loop.c_str(), loop.c_str()), 0);
    EXPECT_EQ(load(loop).stage(), "found");
    EXPECT_EQ(load("").stage(), "found");
    EXPECT_EQ(load(string(5000, 'a')).stage(), "found");
    EXPECT_EQ(tn_plugin_load(nullptr), TN_ERR_INVALID);
    const Outcome o = load(folder / "a\nb\033%s%n\xff.so");
    EXPECT_EQ(o.code, TN_ERR_NOTFOUND);
    EXPECT_LE(o.lines(), 6);
    EXPECT_FALSE(o.says("\033")) << "control characters reach the terminal";
}

TEST_F(Loader, RefusesAHugeSparseFile) {
    const string path = folder / "huge.so";
    write_file(path, slurp(plugin("good")));
    ASSERT_EQ(truncate(path.c_str(), off_t{5} << 30), 0);
    expect_refused(path, "note", "larger than 4 GiB");
}

TEST_F(Loader, SaysSoWhenAFileIsReplacedAfterItWasLoaded) {
    const string path = folder.copy("good", "replaced");
    Setting off("TENON_PROBE_POLICY", "off");
    write_file(path, slurp(plugin("query_reason")));
    EXPECT_EQ(load(path).stage(), "dlopen"); // mapped, then it declined
    const string more = slurp(plugin("query_null"));
    write_file(folder / "new", more);
    ASSERT_EQ(rename((folder / "new").c_str(), path.c_str()), 0);
    expect_refused(path, "dlopen", "the file was replaced after it had been mapped");
}

// ---- Notes -------------------------------------------------------------------------------------

string patched(const string &from, const string &to) {
    string bytes = slurp(plugin("vendor_missing"));
    const size_t at = bytes.find(from);
    if (at != string::npos && from.size() == to.size())
        bytes.replace(at, from.size(), to);
    else
        ADD_FAILURE() << from;
    return bytes;
}

TEST_F(Loader, ParsesTheNoteStrictly) {
    struct {
        const char *from, *to, *cause;
    } cases[] = {{"id=vendor", "xd=vendor", "id= is missing"},
                 {"id=vendor", "id=Vendor", "must be lower-case"},
                 {"\nversion=0.1.0", "\nversion=x.1.0", "must begin with a digit"},
                 {"\nabi=0.0", "\nabi=0,0", "is not MAJOR.MINOR"},
                 {"\nabi=0.0", "\nabi=-.0", "is not MAJOR.MINOR"},
                 {"\nabi=0.0", "\nabi=0.x", "is not MAJOR.MINOR"},
                 {"\nkinds=ops", "\nkinds ops", "is not key=value"},
                 {"\nkinds=ops", "\nKinds=ops", "key of line 4 is malformed"},
                 {"\nabi=0.0", "\nid=good", "id= appears twice"},
                 {"Apache-2.0", "Apache-\x01.0", "not printable"},
                 {"Apache-2.0", "Apache-\xc3.0", "not printable"}};
    for (const auto &c : cases) {
        const string path = folder / "noted.so";
        write_file(path, patched(c.from, c.to));
        expect_refused(path, "note", c.cause);
    }
}

TEST_F(Loader, CleansTextsOfPlugins) {
    EXPECT_TRUE(tni_text_valid("h\xc3\xa4tte", 6));
    EXPECT_FALSE(tni_text_valid("\xed\xa0\x80", 3)) << "surrogate";
    EXPECT_FALSE(tni_text_valid("\xc0\xaf", 2)) << "overlong";
    EXPECT_FALSE(tni_text_valid("\xc2\x85", 2)) << "C1 control";
    char text[] = "a\tb\nc\033d\xff";
    tni_text_clean(text);
    EXPECT_STREQ(text, "a b c?d?");
}

} // namespace
