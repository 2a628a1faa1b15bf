"""Pinned Debian packages as a repository of files. Both engines load this."""

_SCRIPT = "//third_party/debian:fetch.py"

_READ_BY_SCRIPT = ["//third_party/debian:lock.py"]

def _debian_packages_impl(rctx):
    # Reading a file here is what makes a change of it count, in every engine.
    for label in [rctx.attr.lock] + [Label(label) for label in [_SCRIPT] + _READ_BY_SCRIPT]:
        rctx.read(label)
    python = str(rctx.path(rctx.attr.python).realpath)
    script = str(rctx.path(Label(_SCRIPT)))
    lock = rctx.path(rctx.attr.lock)
    rctx.report_progress("fetching the Debian packages of " + lock.basename)
    done = rctx.execute(
        [python, "-IB", script, "--lock=%s" % lock, "--out=%s" % rctx.path(".")],
        timeout = 3600,
        quiet = False,
    )
    if done.return_code:
        fail("the Debian packages that %s names could not be fetched; the reason stands above" % rctx.attr.lock)
    rctx.file("BUILD.bazel", """\
package(default_visibility = ["//visibility:public"])

filegroup(
    name = "debs",
    srcs = glob(["*.deb"]),
)

exports_files(glob(["*.deb"]))
""", executable = False)

debian_packages = repository_rule(
    implementation = _debian_packages_impl,
    attrs = {
        "lock": attr.label(
            doc = "JSON: each package with its version, where an archive holds it, and its SHA-256.",
            mandatory = True,
        ),
        "python": attr.label(
            doc = "An interpreter to run the fetch with.",
            mandatory = True,
        ),
    },
    doc = """Fetches the packages of a lock; `:NAME.deb` is each, `:debs` all of them.

    Nothing is fetched until a target that needs one is built.
    """,
    environ = [
        "RETORT_DEBIAN_MIRROR",
        "RETORT_DEBIAN_SNAPSHOTS",
        "RETORT_DEB_STORE",
    ],
)
