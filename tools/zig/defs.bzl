"""Shared libraries in C, by the compiler of a wheel that the lock pins."""

def zig_shared_library(name, target, srcs, for_each, sets, hdrs = [], visibility = None):
    """A shared library, `NAME.so`, with the same bytes on every builder.

    Args:
        name: the target.
        target: architecture, system and C library, as in `x86_64-linux-gnu.2.28`.
        srcs: compiled for every processor of the architecture.
        for_each: compiled for each instruction set, whose name SUFFIX is.
        sets: of each instruction set its name and the compiler's of a processor that has it.
        hdrs: what the sources include.
        visibility: who may use it.
    """
    words = ["$(execpath //tools/zig:cc)", "--target=" + target, "--out=$@"]
    words += ["--set=%s=%s" % item for item in sets.items()]
    words += ["--for-each=$(execpath %s)" % source for source in for_each]
    words += ["--source=$(execpath %s)" % source for source in srcs]
    native.genrule(
        name = name,
        srcs = srcs + for_each + hdrs,
        outs = [name + ".so"],
        cmd = " ".join(words),
        tools = ["//tools/zig:cc"],
        visibility = visibility,
    )
