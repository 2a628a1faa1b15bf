"""Shared libraries and programs in C, by the compiler of a wheel that the lock pins."""

def zig_shared_library(name, **kwargs):
    """A shared library, `NAME.so`, with the same bytes on every builder.

    Args:
        name: the target.
        **kwargs: as for `zig_program`.
    """
    _zig(name = name, out = name + ".so", flags = ["--shared"], **kwargs)

def zig_program(name, **kwargs):
    """A program, `NAME.elf`, with the same bytes on every builder.

    Args:
        name: the target.
        **kwargs:
            target: architecture, system and C library, as in `x86_64-linux-gnu.2.28`.
            srcs: compiled for every processor of the architecture.
            for_each: compiled for each instruction set, whose name SUFFIX is.
            sets: of each instruction set its name and the compiler's of a processor that has it.
            hdrs: what the sources include, by paths from the repository's root or from their own folder.
            tags, visibility: as for every target.
    """
    _zig(name = name, out = name + ".elf", flags = [], **kwargs)

def _zig(name, out, flags, target, srcs, for_each, sets, hdrs = [], **kwargs):
    """As for `zig_program`.

    Args:
        name: the target.
        out: the file.
        flags: of the compiler's wrapper.
        target: architecture, system and C library, as in `x86_64-linux-gnu.2.28`.
        srcs: compiled for every processor of the architecture.
        for_each: compiled for each instruction set, whose name SUFFIX is.
        sets: of each instruction set its name and the compiler's of a processor that has it.
        hdrs: what the sources include.
        **kwargs: tags and visibility.
    """
    words = ["$(execpath //tools/zig:cc)", "--target=" + target, "--out=$@"] + flags
    words += ["--set=%s=%s" % item for item in sets.items()]
    words += ["--for-each=$(execpath %s)" % source for source in for_each]
    words += ["--source=$(execpath %s)" % source for source in srcs]
    native.genrule(
        name = name,
        srcs = srcs + for_each + hdrs,
        outs = [out],
        cmd = " ".join(words),
        tools = ["//tools/zig:cc"],
        **kwargs
    )
