"""What py_library, py_binary and py_test have in common."""

load(":paths.bzl", "import_roots")

COMMON_ATTRIBUTES = {
    "data": attr.label_list(
        allow_files = True,
        doc = "Files and programs that are there at run time.",
    ),
    "deps": attr.label_list(
        doc = "Python targets whose sources and import roots are wanted.",
        providers = [PyInfo],
    ),
    "imports": attr.string_list(
        doc = "Directories to import from, relative to the package.",
    ),
    "srcs": attr.label_list(
        allow_files = [".py"],
        doc = "Python source files.",
    ),
}

def collect(ctx):
    """What a target and its dependencies bring.

    Args:
        ctx: of a rule with COMMON_ATTRIBUTES.
    Returns:
        PyInfo and the runfiles.
    """
    info = PyInfo(
        imports = depset(import_roots(ctx), transitive = [dep[PyInfo].imports for dep in ctx.attr.deps]),
        transitive_sources = depset(
            ctx.files.srcs,
            order = "postorder",
            transitive = [dep[PyInfo].transitive_sources for dep in ctx.attr.deps],
        ),
    )
    runfiles = ctx.runfiles(files = ctx.files.srcs + ctx.files.data)
    for target in ctx.attr.srcs + ctx.attr.deps + ctx.attr.data:
        runfiles = runfiles.merge(target[DefaultInfo].default_runfiles)
    return info, runfiles
