# SPDX-License-Identifier: Apache-2.0
"""Stand-in for rules_cc on Bazel 4: the native rules under the names newer Bazels load.

Debian's own bazel-rules-cc package does not load in Debian's Bazel 4.2.3.
"""

cc_binary = native.cc_binary
cc_import = native.cc_import
cc_library = native.cc_library
cc_proto_library = native.cc_proto_library
cc_test = native.cc_test
cc_toolchain = native.cc_toolchain
cc_toolchain_suite = native.cc_toolchain_suite
fdo_prefetch_hints = native.fdo_prefetch_hints
fdo_profile = native.fdo_profile

def _stub_impl(_ctx):
    return [platform_common.TemplateVariableInfo({})]

# @bazel_tools only names these two; nothing here expands their make variables.
cc_flags_supplier = rule(implementation = _stub_impl)
compiler_flag = rule(implementation = _stub_impl)
