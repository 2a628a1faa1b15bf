"""A wheel as a repository that holds one directory."""

def _wheel_repository_impl(rctx):
    python = str(rctx.path(Label("@python_interpreter//:bin/python3")).realpath)
    command = [
        python,
        "-IB",
        str(rctx.path(Label("@retort//third_party/airgap/pypi:wheel.py"))),
        "--distribution=" + rctx.attr.distribution,
        "--version=" + rctx.attr.version,
        "--interpreter=" + str(rctx.path(Label("@python_interpreter//:interpreter.json"))),
        "--out=" + str(rctx.path(".")),
    ]
    command += ["--hash=" + digest for digest in rctx.attr.hashes]
    if rctx.attr.index:
        command.append("--index=" + rctx.attr.index)
    for name in ["pip.py", "source_build.py", "source_builds.json", "wheel_files.py"]:  # wheel.py reads them: a change of one counts
        rctx.path(Label("@retort//third_party/requirements:" + name))
    rctx.report_progress("fetching %s %s" % (rctx.attr.distribution, rctx.attr.version))
    done = rctx.execute(command, timeout = 3600, quiet = False)
    if done.return_code:
        fail("%s %s could not be fetched; the line above says why" % (rctx.attr.distribution, rctx.attr.version))
    rctx.file("BUILD.bazel", """\
load("@rules_python//python:py_library.bzl", "py_library")

package(default_visibility = ["//visibility:public"])

exports_files(["site-packages"])

py_library(
    name = "wheel",
    data = [
        "site-packages",  # one directory; wheel.json carries its digest
        "wheel.json",
    ],
    imports = ["site-packages"],
)
""", executable = False)

wheel_repository = repository_rule(
    implementation = _wheel_repository_impl,
    attrs = {
        "distribution": attr.string(mandatory = True),
        "hashes": attr.string_list(mandatory = True),
        "index": attr.string(doc = "Where to look after pip's own settings."),
        "version": attr.string(mandatory = True),
    },
    doc = "Fetches one pinned wheel, or builds it where only its source is published, and unpacks it.",
)
