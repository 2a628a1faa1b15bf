"""py_library for Bazel 4.2.3."""

load(":attributes.bzl", "COMMON_ATTRIBUTES", "collect")

def _py_library_impl(ctx):
    info, runfiles = collect(ctx)
    return [DefaultInfo(files = depset(ctx.files.srcs), runfiles = runfiles), info]

py_library = rule(
    implementation = _py_library_impl,
    attrs = COMMON_ATTRIBUTES,
    doc = "Python sources and what they need.",
)
