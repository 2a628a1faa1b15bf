"""Files of a pinned source archive as a repository, for what a distribution's wheel leaves out. Both engines load this."""

_SCRIPT = "//third_party/source_archives:source_archive.py"

_READ_BY_SCRIPT = [
    "//third_party/requirements:pip.py",
    "//third_party/source_archives:metadata_only.py",
]

def _source_archive_impl(rctx):
    # Reading a file here is what makes a change of it count, in every engine.
    for label in [rctx.attr.pin] + [Label(label) for label in [_SCRIPT] + _READ_BY_SCRIPT]:
        rctx.read(label)
    python = str(rctx.path(rctx.attr.python).realpath)
    script = str(rctx.path(Label(_SCRIPT)))
    pin = rctx.path(rctx.attr.pin)
    rctx.report_progress("fetching the source archive of " + pin.basename)
    done = rctx.execute(
        [python, "-IB", script, "--pin=%s" % pin, "--out=%s" % rctx.path(".")],
        timeout = 3600,
        quiet = False,
    )
    if done.return_code:
        fail("the source archive that %s names could not be fetched; the line above says why" % rctx.attr.pin)
    rctx.file("BUILD.bazel", """\
load("@rules_python//python:py_library.bzl", "py_library")

py_library(
    name = "data",
    data = glob(["*/*"]),
    imports = ["."],
    visibility = ["//visibility:public"],
)
""", executable = False)

source_archive = repository_rule(
    implementation = _source_archive_impl,
    attrs = {
        "pin": attr.label(
            doc = "JSON: the distribution, its version, the archive's SHA-256, the members wanted and the package that holds them.",
            mandatory = True,
        ),
        "python": attr.label(
            doc = "An interpreter that has pip.",
            mandatory = True,
        ),
    },
    doc = """Fetches a source archive through the machine's pip configuration and takes single files out of it.

    `:data` lets Python import their directory as a package without code, and so find them.
    """,
)
