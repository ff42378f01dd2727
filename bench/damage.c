/* damage.c - what each guard of the loader catches of a damaged plugin, and what the others would
 * have made of it. Each damaged copy is shown to every guard, whatever the others say, and then loaded
 * without any, in a process that may die of it.
 *
 *   damage PLUGIN.so TENON-PROBE MATH.so CPU_REF.so [EVERY [SEED]]
 *
 * EVERY: only each so-many-th bit and word; 0: only how long each guard takes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tenon/tenon.h>

#include "core/loader/causes.h"
#include "core/loader/elf_dynamic.h"
#include "core/loader/plugin.h"
#include "core/loader/probe.h"
#include "core/loader/start.h"

/* ---- What may come of a file ----------------------------------------------------------------- */

typedef enum bytes_say {
    HEADERS,
    NOTE,
    TABLES,
    RELOCATIONS,
    ENTRY,
    BYTES_PASS,
    BYTES_SAY
} bytes_say;
static const char *const bytes_names[] = {"headers", "note", "tables", "relocations", "entry", "-"};

typedef enum probe_says { PROBE_DIES, PROBE_NO, PROBE_YES, PROBE_SAYS } probe_says;
static const char *const probe_names[] = {"dies", "refuses", "-"};

typedef enum outcome { CRASHES, HANGS, WRONG, REFUSED, RIGHT, OUTCOMES } outcome;
static const char *const outcome_names[] = {"crashes", "hangs", "wrong", "refused", "right"};

enum { WHY_BYTES = 512, CAUSES = 128 };

typedef struct tally {
    long n[BYTES_SAY][PROBE_SAYS][OUTCOMES];
} tally;

static const char *probe;
static char path[PATH_MAX];            /* of the damaged copy */
static char folders[2 * PATH_MAX + 2]; /* of the plugins without which no op runs */
static uint64_t seed;

static uint64_t draw(void) { /* splitmix64 */
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* ---- The guards ------------------------------------------------------------------------------ */

/* The checks of elf_relocation.c come last, and only they speak of these. */
static bool of_relocations(const char *why) {
    static const char *const words[] = {"relocation", "version", "procedure table",
                                        "an initialiser is not code", NULL};
    for (const char *const *w = words; *w; w++)
        if (strstr(why, *w)) return true;
    return false;
}

static bytes_say ask_bytes(int fd, uint64_t bytes, char why[WHY_BYTES]) {
    const uint64_t room = WHY_BYTES;
    tni_elf elf;
    tni_note note = {0};
    tni_elf_entry entry;
    if (!tni_elf_open(&elf, fd, bytes, why, room)) return HEADERS;
    if (!tni_note_read(&elf, &note, why, room)) return NOTE;
    tni_note_free(&note);
    if (!tni_elf_check_dynamic(&elf, &entry, why, room))
        return of_relocations(why) ? RELOCATIONS : TABLES;
    snprintf(why, room, "the entry is missing, or not alone");
    return entry.found && !entry.extra[0] ? BYTES_PASS : ENTRY;
}

static probe_says ask_probe(void) {
    static tni_probe_answer a;
    const tni_room room = tni_causes_room();
    if (!tni_probe_ask(probe, path, "", &room, &a)) {
        fprintf(stderr, "damage: %s\n", a.text);
        exit(1);
    }
    return !a.answered ? PROBE_DIES : a.code == TN_OK ? PROBE_YES : PROBE_NO;
}

/* ---- Without guards -------------------------------------------------------------------------- */

enum { N = 8, PROBE_MS = 400, CPU_MS = 200, WALL_SECONDS = 1 };

/* Written by the process that may die, and by nothing else: it may write anything. */
typedef struct answer {
    outcome outcome;
    double numbers[N];
} answer;
static answer *page;

/* The plugin's op, and one of the library's own on what it gave. */
static bool compute(double out[N]) {
    static const double numbers[N] = {0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4};
    static tn_op_ref damaged = {"damaged", 0, 0}, add = {"add", 0, 0};
    static const int64_t n = N;
    tn_value x = tn_value_tensor(tn_from(numbers, (tn_ints){&n, 1}, TN_F64));
    tn_value y = tn_value_none(), sum = tn_value_none();
    if (tn_op_call(&damaged, &x, 1, &y, 1)) return false;
    if (tn_op_call(&add, (const tn_value[]){x, y}, 2, &sum, 1)) return false;
    memcpy(out, tn_data(sum.tensor), N * sizeof *out);
    return true;
}

/* RIGHT: there are numbers. */
static outcome load(double out[N]) {
    tn_plugin *p = tni_plugin_new("given", path);
    if (tn_init(&(tn_init_opts){.plugin_path = folders})) return CRASHES;
    if (!p || stat(path, &p->st) != 0) return CRASHES;
    p->note = (tni_note){.id = "damaged", .version = "0.1.0", .kinds = "ops,kernels"};
    return tni_start_map(p) || tni_start_register(p) || !compute(out) ? REFUSED : RIGHT;
}

static void quiet(void) {
    const int null = open("/dev/null", O_WRONLY);
    dup2(null, 1);
    dup2(null, 2);
}

/* The first that comes is of the whole file. */
static outcome compare(const double numbers[N]) {
    static double right[N];
    static bool known;
    if (!known) memcpy(right, numbers, sizeof right);
    known = true;
    return memcmp(right, numbers, sizeof right) == 0 ? RIGHT : WRONG;
}

static outcome load_apart(void) {
    page->outcome = CRASHES; /* also if it exits on the way */
    const pid_t pid = fork();
    if (pid == 0) {
        const struct itimerval cpu = {.it_value = {0, CPU_MS * 1000}};
        quiet();
        setitimer(ITIMER_PROF, &cpu, NULL);
        alarm(WALL_SECONDS);
        page->outcome = load(page->numbers);
        _exit(0);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFSIGNALED(status))
        return page->outcome == RIGHT ? compare(page->numbers) : page->outcome;
    return WTERMSIG(status) == SIGPROF || WTERMSIG(status) == SIGALRM ? HANGS : CRASHES;
}

/* ---- Which check it was ---------------------------------------------------------------------- */

typedef struct cause {
    char text[WHY_BYTES];
    long n[PROBE_SAYS][OUTCOMES];
} cause;
static cause causes[CAUSES];

/* Up to the first number or name: that is one check's. */
static void note_cause(const char *why, probe_says said, outcome o) {
    size_t n = strcspn(why, "0123456789");
    if (strncmp(why, "symbol ", 7) == 0) n = 6;
    if (strncmp(why, "imports ", 8) == 0) n = 7;
    cause *c = causes;
    while (c < causes + CAUSES - 1 && c->text[0] &&
           (strlen(c->text) != n || strncmp(c->text, why, n)))
        c++;
    if (!c->text[0]) memcpy(c->text, why, n);
    c->n[said][o]++;
}

static long bad(const cause *c, probe_says said) {
    return c->n[said][CRASHES] + c->n[said][HANGS] + c->n[said][WRONG];
}

static void print_causes(void) {
    printf("\nwhat the checks of tables and relocations said\n%8s %8s %8s %8s\n", "files", "missed",
           "harmful", "harmless");
    for (const cause *c = causes; c < causes + CAUSES && c->text[0]; c++) {
        long all = 0, right = 0;
        for (int p = 0; p < PROBE_SAYS; p++)
            for (int o = 0; o < OUTCOMES; o++) {
                all += c->n[p][o];
                if (o == RIGHT) right += c->n[p][o];
            }
        printf("%8ld %8ld %8ld %8ld  %s\n", all, bad(c, PROBE_YES),
               bad(c, PROBE_DIES) + bad(c, PROBE_NO) + bad(c, PROBE_YES), right, c->text);
    }
    printf("harmful: this process would have crashed, hung or computed wrong numbers. missed: "
           "those of\n"
           "which the probe said that they load. harmless: the numbers would have been right\n");
}

/* ---- Time ------------------------------------------------------------------------------------ */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

typedef enum step { HEADERS_STEP, NOTE_STEP, TABLES_STEP, PROBE_STEP, STEPS } step;

/* What each step of one look at a file took, in microseconds. */
static void time_steps(int fd, uint64_t bytes, bool ask, double took[STEPS]) {
    char why[WHY_BYTES];
    tni_elf elf;
    tni_note note = {0};
    tni_elf_entry entry;
    double at[STEPS + 1] = {now()};
    const bool open = tni_elf_open(&elf, fd, bytes, why, sizeof why);
    at[1] = now();
    const bool known = open && tni_note_read(&elf, &note, why, sizeof why);
    at[2] = now();
    if (!known || !tni_elf_check_dynamic(&elf, &entry, why, sizeof why)) printf("%s\n", why);
    at[3] = now();
    if (ask) ask_probe();
    at[4] = now();
    tni_note_free(&note);
    for (int k = 0; k < STEPS; k++) took[k] = at[k + 1] - at[k];
}

/* The least of many runs: what nobody disturbed. */
static void print_times(const char *plugin) {
    double least[STEPS] = {1e9, 1e9, 1e9, 1e9}, took[STEPS];
    const int fd = open(plugin, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || !realpath(plugin, path)) return;
    for (int i = 0; i < 200; i++) {
        const bool ask = i % 5 == 0;
        time_steps(fd, (uint64_t)st.st_size, ask, took);
        for (int k = 0; k < (ask ? STEPS : PROBE_STEP); k++)
            if (took[k] < least[k]) least[k] = took[k];
    }
    close(fd);
    printf("headers %.1f us, note %.1f us, tables and relocations %.1f us, probe %.0f us\n",
           least[HEADERS_STEP], least[NOTE_STEP], least[TABLES_STEP], least[PROBE_STEP]);
}

/* ---- Kinds of damage ------------------------------------------------------------------------- */

typedef struct image {
    char *bytes;
    uint64_t n;
} image;

static void show(tally *t, const image *file) {
    unlink(path);
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
    if (fd < 0 || write(fd, file->bytes, file->n) != (ssize_t)file->n) {
        perror("damage");
        exit(1);
    }
    char why[WHY_BYTES] = "";
    const bytes_say bytes = ask_bytes(fd, file->n, why);
    close(fd);
    const probe_says said = ask_probe();
    const outcome o = load_apart();
    t->n[bytes][said][o]++;
    if (bytes == TABLES || bytes == RELOCATIONS || bytes == ENTRY) note_cause(why, said, o);
}

/* Offsets of what the loader and ld.so read: headers, note, dynamic section, and the tables in the
 * first page. */
static uint64_t *places_of(const image *file, uint64_t *n) {
    Elf64_Ehdr h;
    memcpy(&h, file->bytes, sizeof h);
    uint64_t *out = calloc(file->n, sizeof *out);
    *n = 0;
    for (uint64_t at = 0; out && at < file->n; at++) {
        bool in = at < h.e_phoff + h.e_phnum * sizeof(Elf64_Phdr);
        for (uint32_t i = 0; i < h.e_phnum && !in; i++) {
            Elf64_Phdr s;
            memcpy(&s, file->bytes + h.e_phoff + i * sizeof s, sizeof s);
            const bool whole = s.p_type == PT_NOTE || s.p_type == PT_DYNAMIC;
            in = (whole || (s.p_type == PT_LOAD && at < 4096)) && at - s.p_offset < s.p_filesz;
        }
        if (in) out[(*n)++] = at;
    }
    return out;
}

static void flip_bits(tally *t, image *file, uint64_t every) {
    uint64_t n, *places = places_of(file, &n);
    for (uint64_t i = draw() % every; i < n * 8; i += every) {
        char *byte = &file->bytes[places[i / 8]];
        *byte = (char)(*byte ^ (1 << i % 8));
        show(t, file);
        *byte = (char)(*byte ^ (1 << i % 8));
    }
    free(places);
}

/* A number of the file becomes another: none, the most, one that may be an offset, any. */
static void change_words(tally *t, image *file, uint64_t every) {
    uint64_t n, *places = places_of(file, &n);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t was;
        if (places[i] % 8 != 0 || places[i] + 8 > file->n || draw() % every) continue;
        memcpy(&was, file->bytes + places[i], 8);
        const uint64_t now[] = {0, UINT64_MAX, draw() % file->n & ~UINT64_C(7), draw() % 65536,
                                draw()};
        for (uint32_t k = 0; k < sizeof now / sizeof *now; k++) {
            memcpy(file->bytes + places[i], &now[k], 8);
            show(t, file);
        }
        memcpy(file->bytes + places[i], &was, 8);
    }
    free(places);
}

/* What a torn copy leaves: a sector of zeros, or zeros from somewhere to the end. */
static void zero_sectors(tally *t, image *file, uint64_t every) {
    char *kept = malloc(file->n);
    if (!kept) return;
    memcpy(kept, file->bytes, file->n);
    for (uint64_t at = 0; at < file->n; at += 64 * every) {
        const uint64_t rest = file->n - at;
        for (int tail = 0; tail < 2; tail++) {
            memset(file->bytes + at, 0, tail || rest < 512 ? rest : 512);
            show(t, file);
            memcpy(file->bytes, kept, file->n);
        }
    }
    free(kept);
}

static void cut(tally *t, image *file, uint64_t every) {
    const uint64_t n = file->n;
    for (file->n = 0; file->n < n; file->n += 16 * every) show(t, file);
    file->n = n;
}

static void scatter(tally *t, image *file, uint64_t every) {
    char *kept = malloc(file->n);
    if (!kept) return;
    memcpy(kept, file->bytes, file->n);
    for (uint64_t i = 0; i < 4000 / every; i++) {
        for (uint64_t k = 0; k <= i % 8; k++) file->bytes[draw() % file->n] = (char)draw();
        show(t, file);
        memcpy(file->bytes, kept, file->n);
    }
    free(kept);
}

/* ---- The tables ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    void (*damage)(tally *, image *, uint64_t every);
} kinds[] = {{"one bit flipped", flip_bits},
             {"one word changed", change_words},
             {"zeros, a sector or to the end", zero_sectors},
             {"cut short", cut},
             {"1 to 8 bytes anywhere", scatter}};

static void print_tally(const char *name, const tally *t) {
    printf("\n%s\n%-12s %-8s", name, "bytes", "probe");
    for (int o = 0; o < OUTCOMES; o++) printf(" %8s", outcome_names[o]);
    for (int b = 0; b < BYTES_SAY; b++)
        for (int p = 0; p < PROBE_SAYS; p++) {
            long all = 0;
            for (int o = 0; o < OUTCOMES; o++) all += t->n[b][p][o];
            if (all == 0) continue;
            printf("\n%-12s %-8s", bytes_names[b], probe_names[p]);
            for (int o = 0; o < OUTCOMES; o++) printf(" %8ld", t->n[b][p][o]);
        }
    printf("\n");
    fflush(stdout);
}

static image read_file(const char *name) {
    image out = {0};
    FILE *f = fopen(name, "rb");
    if (f && fseek(f, 0, SEEK_END) == 0) out.n = (uint64_t)ftell(f);
    out.bytes = f ? malloc(out.n) : NULL;
    if (!out.bytes || fseek(f, 0, SEEK_SET) != 0 || fread(out.bytes, 1, out.n, f) != out.n) {
        perror(name);
        exit(1);
    }
    fclose(f);
    return out;
}

static void add_folder(const char *plugin) {
    char whole[PATH_MAX];
    if (!realpath(plugin, whole)) {
        perror(plugin);
        exit(1);
    }
    *strrchr(whole, '/') = 0;
    const size_t n = strlen(folders);
    snprintf(folders + n, sizeof folders - n, "%s%s", n ? ":" : "", whole);
}

static void measure(image file, uint64_t every) {
    tally whole = {0};
    show(&whole, &file);
    print_tally("nothing", &whole);
    for (uint32_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        tally t = {0};
        kinds[k].damage(&t, &file, every);
        print_tally(kinds[k].name, &t);
    }
    print_causes();
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: damage PLUGIN.so TENON-PROBE MATH.so CPU_REF.so [EVERY [SEED]]\n");
        return 2;
    }
    const uint64_t every = argc > 5 ? strtoull(argv[5], NULL, 10) : 1;
    const char *tmp = getenv("TMPDIR");
    probe = argv[2], seed = argc > 6 ? strtoull(argv[6], NULL, 10) : 1;
    add_folder(argv[3]);
    add_folder(argv[4]);
    setenv("TENON_PROBE_POLICY", "off", 1);
    print_times(argv[1]);
    if (every == 0) return 0;
    snprintf(path, sizeof path, "%s/damaged-%d.so", tmp ? tmp : "/tmp", (int)getpid());
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return 1;
    tni_probe_limit_set(PROBE_MS);
    image file = read_file(argv[1]);
    measure(file, every);
    unlink(path);
    free(file.bytes);
    return 0;
}
