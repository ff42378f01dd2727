# SPDX-License-Identifier: Apache-2.0
"""Build rules of Tenon: plugins, shared libraries, generated op wrappers, tests.

Platform and linker flags live here and nowhere else.
"""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")
load("//tools:copts.bzl", "TENON_COPTS", "TENON_CXXOPTS")

# A forgotten library is a link error, not a failed dlopen on somebody's machine. Sanitizers
# leave their runtime undefined on purpose; the executable brings it.
_NO_UNDEFINED = select({
    "//tools:sanitized": [],
    "//conditions:default": ["-Wl,-z,defs"],
})

def _shared_object(file, version_script, linkopts, deps, **kwargs):
    cc_binary(
        name = file,
        linkshared = 1,
        linkstatic = 1,
        linkopts = [
            "-Wl,--version-script=$(location %s)" % version_script,
            "-Wl,-soname," + file,
        ] + linkopts + _NO_UNDEFINED,
        deps = deps + [version_script],
        **kwargs
    )

def tn_plugin(
        name,
        srcs,
        hdrs = [],
        kernels = [],
        deps = [],
        copts = [],
        linkopts = [],
        visibility = None,
        data = [],
        tags = [],
        version_script = "//tools:plugin.lds"):
    """Builds the plugin NAME.so; `:NAME` is the same target, for use in data.

    `:NAME_static` is the same code for a program that hands it to tn_plugin_add itself. NAME.so
    exports tn_plugin_query_v* only and may need nothing but libc and libm (plus linkopts);
    vendor libraries are opened with dlopen, so that a plugin can explain what is missing.

    Args:
      name: file name without .so.
      srcs: C sources.
      hdrs: private headers, and what else the sources include.
      kernels: more C sources, which tests link by themselves as `:kernels`; whoever does defines
        tn_plugin_host and tn_plugin_self.
      deps: libraries linked into it, beside //core:abi.
      copts: added to TENON_COPTS.
      linkopts: added to the linker's command line.
      visibility: of NAME and NAME.so.
      data: files it needs at run time.
      tags: of NAME.so.
      version_script: for tests of the loader: what exports more is refused.
    """
    deps = deps + ["//core:abi"]
    copts = TENON_COPTS + copts
    if kernels:
        cc_library(
            name = "kernels",
            srcs = kernels,
            textual_hdrs = hdrs,
            copts = copts + ["-fPIC"],
            linkopts = ["-lm"] + linkopts,
            linkstatic = 1,
            visibility = visibility,
            deps = deps,
        )
    cc_library(
        name = name + "_static",
        srcs = srcs + kernels,
        textual_hdrs = hdrs,
        copts = copts + ["-DTN_PLUGIN_STATIC=" + name],
        linkopts = ["-lm"] + linkopts,
        linkstatic = 1,
        tags = ["manual"],
        visibility = visibility,
        deps = deps,
    )
    _shared_object(
        file = name + ".so",
        version_script = version_script,
        linkopts = linkopts,
        srcs = srcs + ([] if kernels else hdrs),
        copts = copts + ["-fPIC"],
        deps = deps + ([":kernels"] if kernels else []),
        data = data,
        tags = tags,
        visibility = visibility,
    )
    native.alias(
        name = name,
        actual = name + ".so",
        visibility = visibility,
    )

def tn_shared_library(
        name,
        deps,
        version_script = "//tools:libtenon.lds",
        headers = [],
        linkopts = [],
        visibility = None):
    """Builds libNAME.so.0 from the cc_library targets in deps; `:NAME` links against it.

    libNAME.so is a link to it, for `cc -lNAME`. The number grows when programs that were linked
    before would no longer work.

    Args:
      name: of the library, without lib and .so.
      deps: cc_library targets that hold the code. Set alwayslink = 1 on them: nothing inside
        refers to the public functions, so the linker would leave their objects out.
      version_script: label of the .lds file that names the exported symbols.
      headers: header-only cc_library targets that users of `:NAME` get.
      linkopts: added to the linker's command line.
      visibility: of NAME, libNAME.so and libNAME.so.0.
    """
    file = "lib%s.so.0" % name
    _shared_object(
        file = file,
        version_script = version_script,
        linkopts = ["-lm", "-ldl", "-lpthread"] + linkopts,
        deps = deps,
        visibility = visibility,
    )
    native.genrule(
        name = name + "_link",
        srcs = [file],
        outs = ["lib%s.so" % name],
        cmd = "ln -s %s $@" % file,
        visibility = visibility,
    )

    # linkstatic keeps this target from making a second libNAME.so.
    cc_library(
        name = name,
        srcs = [file],
        linkstatic = 1,
        visibility = visibility,
        deps = headers,
    )

def tn_module(name, srcs, deps = []):
    """A C library over tenon.h: `:NAME` for what is linked whole, and libtenon_NAME.so.

    Its public headers are include/tenon/*.h; their functions are marked TN_API.

    Args:
      name: of the folder.
      srcs: C sources, and headers of their own.
      deps: beside //core:headers.
    """
    cc_library(
        name = name,
        srcs = srcs,
        hdrs = native.glob(["include/tenon/*.h"]),
        copts = TENON_COPTS,
        includes = ["include"],
        visibility = ["//visibility:public"],
        # Nothing inside refers to the public functions of the shared library.
        alwayslink = 1,
        deps = deps + ["//core:headers"],
    )
    native.filegroup(
        name = "header_files",
        srcs = native.glob(["include/tenon/*.h"]),
        visibility = ["//visibility:public"],
    )
    tn_shared_library(
        name = "tenon_" + name,
        # Installed, it lies beside libtenon.
        linkopts = ["-Wl,-rpath,$$ORIGIN"],
        visibility = ["//visibility:public"],
        deps = [
            ":" + name,
            "//core:tenon",
        ],
    )

def tn_opgen(name, srcs = None, visibility = None):
    """Generates NAME_ops.h (wrappers), NAME_rows.h, NAME_table.inc (registration), NAME_schemas.h and
    NAME_formulas.inc.

    `:NAME_ops` is the header for all, `:NAME_rows` what the library itself compiles with,
    `:NAME_schemas` what rows of kernels are written for, `:NAME_formulas` what backends expand into kernels. Include them by their path in the tree,
    "modules/math/math_ops.h": a search path of their own could shadow system headers.

    Args:
      name: stem of the generated files.
      srcs: the rows, in the order in which they are registered; default NAME.ops.
      visibility: of all targets.
    """
    srcs = srcs or [name + ".ops"]
    header = name + "_ops.h"
    rows = name + "_rows.h"
    table = name + "_table.inc"
    schemas = name + "_schemas.h"
    formulas = name + "_formulas.inc"
    outputs = {
        "header": header,
        "rows": rows,
        "table": table,
        "schemas": schemas,
        "formulas": formulas,
    }
    native.genrule(
        name = name + "_opgen",
        srcs = srcs,
        outs = outputs.values(),
        cmd = "$(location //tools/opgen:opgen) --name %s %s $(SRCS)" %
              (name, " ".join(["--%s $(location %s)" % o for o in outputs.items()])),
        message = "Generating op wrappers",
        tools = ["//tools/opgen:opgen"],
        visibility = visibility,
    )
    cc_library(
        name = name + "_ops",
        hdrs = [header],
        visibility = visibility,
    )
    cc_library(
        name = name + "_rows",
        hdrs = [rows],
        textual_hdrs = [table],
        visibility = visibility,
        deps = [":" + name + "_ops"],
    )
    cc_library(
        name = name + "_schemas",
        hdrs = [schemas],
        visibility = visibility,
    )
    cc_library(
        name = name + "_formulas",
        textual_hdrs = [formulas],
        visibility = visibility,
    )

def tn_test(
        name,
        srcs,
        deps = [],
        data = [],
        env = {},
        copts = [],
        linkopts = [],
        **kwargs):
    """A GoogleTest in C++17. Plugins go into data; pass their paths through env:
    env = {"TEST_PLUGIN": "$(rootpath //backends/cpu_ref)"}.

    Tag "tsan" runs it under ThreadSanitizer too; "noasan" or "notsan" keeps it out of one.

    Args:
      name: of the test.
      srcs: C++ sources.
      deps: libraries under test.
      data: files and plugins it opens at run time.
      env: environment; $(rootpath ...) is expanded.
      copts: added to TENON_CXXOPTS.
      linkopts: added to the linker's command line.
      **kwargs: of cc_test: size, tags, args, shard_count, ...
    """
    cc_test(
        name = name,
        srcs = srcs,
        copts = TENON_CXXOPTS + copts,
        data = data,
        env = env,
        linkopts = linkopts + ["-lstdc++", "-lpthread"],
        # Hidden symbols of the code under test stay reachable.
        linkstatic = 1,
        deps = deps + ["@googletest//:gtest_main"],
        **kwargs
    )
