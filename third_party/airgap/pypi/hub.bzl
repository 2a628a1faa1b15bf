"""The hub: `@pypi//torch` for every distribution of the locks."""

_FLAG = "@rules_python//python/config_settings:venv"

def _hub_repository_impl(rctx):
    build = "package(default_visibility = [\"//visibility:public\"])\n"
    if len(rctx.attr.locks) > 1:
        for lock in rctx.attr.locks:
            build += "\nconfig_setting(\n    name = %r,\n    flag_values = {%r: %r},\n)\n" % (lock, _FLAG, lock)
    rctx.file("BUILD.bazel", build, executable = False)
    for name, text in rctx.attr.packages.items():
        rctx.file(name + "/BUILD.bazel", text, executable = False)

hub_repository = repository_rule(
    implementation = _hub_repository_impl,
    attrs = {
        "locks": attr.string_list(mandatory = True),
        "packages": attr.string_dict(
            doc = "Distribution to its BUILD file.",
            mandatory = True,
        ),
    },
    doc = "One package of aliases for each distribution.",
)
