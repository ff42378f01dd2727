/* load.c - one plugin on its way through the stages: found, owner, note, abi, probe, dlopen,
 * vendor, registered.
 *
 * Invariants: no code of a file runs here before all checks of its bytes and its probe have passed;
 * registration is the last thing that happens, and it happens whole or not at all.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/inspect.h>

#include "core/base/heap.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "core/loader/advice.h"
#include "core/loader/causes.h"
#include "core/loader/elf_dynamic.h"
#include "core/loader/file.h"
#include "core/loader/probe.h"
#include "core/loader/start.h"

typedef struct journey { /* a loading, and what its stages hand to each other */
    tni_loading *l;
    tn_plugin *p;
    tni_report *report;
    tni_file file;
    tni_elf elf;
    tni_elf_entry entry;
} journey;

/* With the fix given, or the one that fits the cause. */
static tn_status fail(const journey *j, tni_stage stage, tn_status code, const char *fix,
                      const char *cause) {
    char advice[TNI_DETAIL_BYTES];
    if (!fix) fix = tni_advice(stage, code, cause, advice, sizeof advice);
    return tni_report_fail(j->report, stage, code, fix, "%s", cause);
}

/* ---- Found and owner ------------------------------------------------------------------------- */

static tn_status stage_found(journey *j) {
    char why[TNI_DETAIL_BYTES];
    tn_status s = tni_file_open(&j->file, j->l->path, why, sizeof why);
    if (s != TN_OK) return fail(j, TNI_STAGE_FOUND, s, NULL, why);
    j->p->st = j->file.st;
    char *path = tni_strdup(j->file.path);
    if (!path)
        return tni_report_fail(j->report, TNI_STAGE_FOUND, TN_ERR_NOMEM, NULL, "out of memory");
    tni_free(j->p->path);
    j->p->path = path;
    tni_report_pass(j->report, TNI_STAGE_FOUND, "%s (%s)", path, j->p->origin);
    for (uint32_t i = 0; i < tni_ready_count() && !j->l->quick; i++) {
        tn_plugin *ready = tni_ready_at(i);
        if (ready->path[0] && tni_file_same(&ready->st, &j->file.st)) j->l->same = ready;
    }
    return TN_OK;
}

static tn_status stage_owner(journey *j) {
    char why[TNI_DETAIL_BYTES], fix[TNI_DETAIL_BYTES];
    if (tni_file_trusted(&j->file, why, sizeof why, fix, sizeof fix)) {
        tni_report_pass(j->report, TNI_STAGE_OWNER, "user %u; nobody else can change it",
                        (unsigned)j->file.st.st_uid);
        return TN_OK;
    }
    if (!j->l->given || j->l->search->strict)
        return tni_report_fail(j->report, TNI_STAGE_OWNER, TN_ERR_PLUGIN, fix, "%s", why);
    tni_report_pass(j->report, TNI_STAGE_OWNER, "doubtful, but given by path: %s", why);
    if (!j->l->quick) tni_log(TN_LOG_WARN, "", "plugin '%s': %s; %s", j->p->path, why, fix);
    return TN_OK;
}

/* ---- Note and abi ---------------------------------------------------------------------------- */

static tn_status stage_note(journey *j) {
    char why[TNI_DETAIL_BYTES];
    static const char rebuild[] = "build or copy the file again";
    if (!tni_elf_open(&j->elf, j->file.fd, (uint64_t)j->file.st.st_size, why, sizeof why))
        return tni_report_fail(j->report, TNI_STAGE_NOTE, TN_ERR_PLUGIN, rebuild, "%s", why);
    if (!tni_note_read(&j->elf, &j->p->note, why, sizeof why))
        return tni_report_fail(j->report, TNI_STAGE_NOTE, TN_ERR_PLUGIN,
                               "a plugin is built with TN_PLUGIN of <tenon/abi.h>", "%s", why);
    if (!j->l->quick && !tni_elf_check_dynamic(&j->elf, &j->entry, why, sizeof why))
        return tni_report_fail(j->report, TNI_STAGE_NOTE, TN_ERR_PLUGIN, rebuild, "%s", why);
    const tni_note *n = &j->p->note;
    tni_report_pass(j->report, TNI_STAGE_NOTE, "%s %s, %s%s%s", n->id, n->version, n->kinds,
                    n->licence[0] ? ", " : "", n->licence);
    return TN_OK;
}

static tn_status entry_check(journey *j) {
    if (j->entry.found && j->entry.extra[0])
        return tni_report_fail(j->report, TNI_STAGE_ABI, TN_ERR_PLUGIN,
                               "compile it with -fvisibility=hidden; C++ also needs "
                               "-Wl,--version-script=plugin.lds (it lies in Tenon's tools/)",
                               "exports %s; a plugin exports %s and nothing else", j->entry.extra,
                               TN_PLUGIN_ENTRY);
    if (j->entry.found) return TN_OK;
    if (j->entry.other[0])
        return tni_report_fail(j->report, TNI_STAGE_ABI, TN_ERR_PLUGIN,
                               "get the plugin for this tenon", "exports %s, this tenon needs %s",
                               j->entry.other, TN_PLUGIN_ENTRY);
    return tni_report_fail(j->report, TNI_STAGE_ABI, TN_ERR_PLUGIN,
                           "a plugin is built with TN_PLUGIN of <tenon/abi.h>",
                           "does not export %s", TN_PLUGIN_ENTRY);
}

static tn_status identity_conflict(journey *j) {
    const tn_plugin *other = tni_ready_find(j->p->note.id);
    if (!other) return TN_OK;
    if (strcmp(other->path, j->p->path) == 0)
        return tni_report_fail(j->report, TNI_STAGE_ABI, TN_ERR_CONFLICT, "start the program again",
                               "'%s' was loaded from this path before the file was replaced",
                               j->p->note.id);
    return tni_report_fail(j->report, TNI_STAGE_ABI, TN_ERR_CONFLICT,
                           "keep one of the two files, or give one of them another id",
                           "plugin '%s' is loaded already, from '%s'; this one is '%s'",
                           j->p->note.id, other->path[0] ? other->path : "the program itself",
                           j->p->path);
}

/* Equal runtime keys must have equal values: two OpenMP flavours in one process do not work. */
static tn_status runtime_conflict(journey *j) {
    const tni_note *n = &j->p->note;
    for (uint32_t i = 0; i < tni_ready_count(); i++) {
        const tni_note *other = &tni_ready_at(i)->note;
        for (uint32_t a = 0; a < n->n_runtimes; a++) {
            for (uint32_t b = 0; b < other->n_runtimes; b++) {
                const tni_pair *mine = &n->runtimes[a], *theirs = &other->runtimes[b];
                if (strcmp(mine->name, theirs->name) != 0 ||
                    strcmp(mine->value, theirs->value) == 0)
                    continue;
                return tni_report_fail(
                    j->report, TNI_STAGE_ABI, TN_ERR_CONFLICT,
                    "use one of the two plugins, or build them for the same runtime",
                    "needs %s=%s, but plugin '%s' is loaded and uses %s=%s", mine->name,
                    mine->value, other->id, theirs->name, theirs->value);
            }
        }
    }
    return TN_OK;
}

static tn_status requirements(journey *j) {
    const tni_note *n = &j->p->note;
    for (uint32_t i = 0; i < n->n_requires; i++) {
        const tni_pair *r = &n->requires[i];
        const char *sign = r->value[0] ? " >= " : "";
        bool there = tni_ready_find(r->name) || tni_loader_require(r->name);
        const tn_plugin *other = there ? tni_ready_find(r->name) : NULL;
        if (!other)
            return tni_report_fail(
                j->report, TNI_STAGE_ABI, TN_ERR_NOTFOUND, "see 'tenon plugins' for what is there",
                "requires plugin %s%s%s, which cannot be loaded", r->name, sign, r->value);
        if (tni_version_compare(other->note.version, r->value) < 0)
            return tni_report_fail(j->report, TNI_STAGE_ABI, TN_ERR_PLUGIN, "get a newer one",
                                   "requires plugin %s%s%s, but %s is loaded", r->name, sign,
                                   r->value, other->note.version);
    }
    return TN_OK;
}

static tn_status stage_abi(journey *j) {
    const tni_note *n = &j->p->note;
    if (n->abi_major != TN_ABI_MAJOR)
        return tni_report_fail(
            j->report, TNI_STAGE_ABI, TN_ERR_PLUGIN, "get the plugin for this tenon",
            "needs ABI %d.x, this tenon speaks %d.%d", n->abi_major, TN_ABI_MAJOR, TN_ABI_MINOR);
    tn_status s = TN_OK;
    if (!j->l->quick) {
        s = entry_check(j);
        if (s == TN_OK) s = identity_conflict(j);
        if (s == TN_OK) s = runtime_conflict(j);
        if (s == TN_OK) s = requirements(j);
    }
    if (s == TN_OK)
        tni_report_pass(j->report, TNI_STAGE_ABI, "%s; this tenon speaks %d.%d", n->abi,
                        TN_ABI_MAJOR, TN_ABI_MINOR);
    return s;
}

/* ---- Probe ----------------------------------------------------------------------------------- */

static tni_subject subject_of(const tn_plugin *p, const tni_room *room) {
    const tni_note *n = &p->note;
    return (tni_subject){&p->st, n->build_id, n->id, tni_causes_surroundings(room, n->environment)};
}

bool tni_load_remembered(const tn_plugin *p, tni_verdict *out) {
    const tni_room room = tni_causes_room();
    const tni_subject subject = subject_of(p, &room);
    return tni_verdict_get(&subject, out);
}

/* Without a probe to ask. */
static tn_status no_probe(journey *j, tni_probe_policy policy, const char *why) {
    if (policy == TNI_PROBE_REQUIRE)
        return fail(j, TNI_STAGE_PROBE, TN_ERR_PLUGIN,
                    "install tenon-probe, or set TENON_PROBE_POLICY=try", why);
    tni_report_pass(j->report, TNI_STAGE_PROBE, "not asked: %s", why);
    return TN_OK;
}

/* It came back with a reason. Not remembered: the reason may go away. */
static tn_status probe_refused(journey *j, const tni_probe_answer *a) {
    tni_stage stage = a->stage > TNI_STAGE_PROBE ? a->stage : TNI_STAGE_DLOPEN;
    tni_report_pass(j->report, TNI_STAGE_PROBE, "asked; it was refused there");
    for (int i = TNI_STAGE_DLOPEN; i < (int)stage; i++)
        tni_report_pass(j->report, (tni_stage)i, "in the probe only");
    return fail(j, stage, a->code, NULL, a->text);
}

static tn_status judge(journey *j, tni_probe_policy policy, const tni_subject *subject,
                       const tni_probe_answer *a) {
    tni_verdict v = {.ok = a->answered, .late = a->late};
    if (a->lacking) return fail(j, TNI_STAGE_PROBE, TN_ERR_IO, NULL, a->text);
    if (!a->ran && !a->answered) return no_probe(j, policy, a->text);
    if (a->answered && a->code != TN_OK) return probe_refused(j, a);
    tni_text_format(v.text, sizeof v.text, "%s", a->text);
    if (a->told) tni_verdict_put(subject, &v, a->causes);
    if (!v.ok) return fail(j, TNI_STAGE_PROBE, TN_ERR_PLUGIN, NULL, v.text);
    tni_report_pass(j->report, TNI_STAGE_PROBE, "asked; it loads");
    return TN_OK;
}

static tn_status ask_probe(journey *j, tni_probe_policy policy, const char *program) {
    const tni_room room = tni_causes_room();
    const tni_subject subject = subject_of(j->p, &room);
    tni_probe_answer *a = tni_alloc(sizeof *a);
    if (!a) return fail(j, TNI_STAGE_PROBE, TN_ERR_NOMEM, NULL, "out of memory");
    tni_probe_ask(program, j->p->path, j->p->note.environment, &room, a);
    const tn_status s = judge(j, policy, &subject, a);
    tni_free(a);
    return s;
}

static tn_status stage_probe(journey *j) {
    char program[PATH_MAX];
    tni_verdict v;
    tni_probe_policy policy = tni_probe_policy_of(j->l->search);
    if (policy == TNI_PROBE_OFF) return no_probe(j, policy, "the policy is off");
    errno = 0;
    if (!tni_probe_find(j->l->search, program, sizeof program))
        return tni_is_shortage(errno) ? fail(j, TNI_STAGE_PROBE, TN_ERR_IO, NULL, strerror(errno))
                                      : no_probe(j, policy, "tenon-probe was not found");
    if (j->l->afresh || !tni_load_remembered(j->p, &v)) return ask_probe(j, policy, program);
    if (!v.ok) {
        char text[TNI_DETAIL_BYTES];
        tni_text_format(text, sizeof text, "%s (remembered)", v.text);
        return fail(j, TNI_STAGE_PROBE, TN_ERR_PLUGIN, NULL, text);
    }
    tni_report_pass(j->report, TNI_STAGE_PROBE, "it loaded before");
    return TN_OK;
}

/* ---- All stages ------------------------------------------------------------------------------ */

static void set_state(tn_plugin *p) {
    if (p->report.code == TN_OK) return;
    const bool lacks_library =
        p->report.failed == TNI_STAGE_DLOPEN && p->report.code == TN_ERR_NOTFOUND;
    p->state = p->report.failed == TNI_STAGE_VENDOR || lacks_library ? TN_PLUGIN_UNUSABLE
                                                                     : TN_PLUGIN_REFUSED;
}

static tn_status stage_dlopen(journey *j) { return tni_start_map(j->p); }

static tn_status stage_start(journey *j) { return tni_start_register(j->p); }

static tn_status (*const stages[])(journey *) = {stage_found, stage_owner,  stage_note, stage_abi,
                                                 stage_probe, stage_dlopen, stage_start};

static tn_status travel(tni_loading *l, uint32_t n) {
    journey j = {.l = l, .p = l->p, .report = &l->p->report, .file = {.fd = -1}};
    tn_status s = TN_OK;
    for (uint32_t i = 0; i < n && s == TN_OK && !l->same; i++) s = stages[i](&j);
    tni_file_close(&j.file);
    set_state(l->p);
    return s;
}

tn_status tni_load_examine(tni_loading *l) {
    l->quick = true;
    return travel(l, 4);
}

tn_status tni_load_file(tni_loading *l) { return travel(l, 7); }

/* A linked-in plugin has no note: one is made of its description. */
static tn_status static_note(tn_plugin *p) {
    char text[512], why[TNI_DETAIL_BYTES];
    int n = snprintf(text, sizeof text,
                     "id=%.100s\nversion=%.100s\nabi=%d.%u\nkinds=ops,kernels,driver\nlicence=\n",
                     p->desc->id, p->desc->version, TN_ABI_MAJOR, p->desc->minor);
    if (tni_note_parse(&p->note, text, (uint64_t)n, why, sizeof why)) return TN_OK;
    return tni_report_fail(&p->report, TNI_STAGE_NOTE, TN_ERR_PLUGIN, NULL, "%s", why);
}

tn_status tni_load_static(tn_plugin *p, tn_plugin_query_fn query) {
    tni_loading l = {.p = p};
    journey j = {.l = &l, .p = p, .report = &p->report};
    p->query = query;
    tni_report_pass(&p->report, TNI_STAGE_FOUND, "linked into the program");
    tni_report_pass(&p->report, TNI_STAGE_OWNER, "part of the program");
    tn_status s = tni_start_query(p);
    if (s == TN_OK) s = static_note(p);
    if (s == TN_OK) {
        tni_report_pass(&p->report, TNI_STAGE_NOTE, "%s %s", p->note.id, p->note.version);
        tni_report_pass(&p->report, TNI_STAGE_PROBE, "not needed");
        tni_report_pass(&p->report, TNI_STAGE_DLOPEN, "not needed");
        s = identity_conflict(&j);
    }
    if (s == TN_OK) {
        tni_report_pass(&p->report, TNI_STAGE_ABI, "%s", p->note.abi);
        s = tni_start_register(p);
    }
    set_state(p);
    return s;
}
