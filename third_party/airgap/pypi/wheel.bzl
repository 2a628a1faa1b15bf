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
    command += ["--build-path=%s/site-packages" % rctx.path(label).dirname for label in rctx.attr.build_path]
    rctx.path(Label("@retort//third_party/requirements:pip.py"))  # wheel.py imports it: a change of it counts
    rctx.report_progress("fetching %s %s" % (rctx.attr.distribution, rctx.attr.version))
    done = rctx.execute(command, timeout = 3600, quiet = False)
    if done.return_code:
        fail("%s %s could not be fetched; what pip said stands above" % (rctx.attr.distribution, rctx.attr.version))
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
        "build_path": attr.label_list(doc = "wheel.json of each wheel that a build from source imports."),
        "distribution": attr.string(mandatory = True),
        "hashes": attr.string_list(mandatory = True),
        "version": attr.string(mandatory = True),
    },
    doc = "Fetches one pinned wheel through the machine's pip configuration and unpacks it.",
)
