"""Rules for layers: files, Debian packages, Python packages, Python sources. All end in one canonical writer."""

load("@bazel_skylib//rules:common_settings.bzl", "BuildSettingInfo")
load("@rules_python//python:py_info.bzl", "PyInfo")
load(":providers.bzl", "OciLayersInfo")

SITE_PACKAGES = "opt/retort/lib/python3.11/site-packages"

_LOCK = "@rules_python//python/config_settings:venv"

_WRITER = {
    "interpreter": attr.label(
        doc = "An oci_interpreter that compiles every Python file of the layer. None: there is no byte code.",
    ),
    "_plant": attr.label(default = "//tools/oci:plant"),
    "_writer": attr.label(
        cfg = "exec",
        default = "//tools/oci/layers:build_layer",
        executable = True,
    ),
}

def _source_line(file):
    return "%s\t%s" % (file.path, file.short_path)

def _write(ctx, name, arguments, inputs, writer):
    """Registers the action that writes one layer.

    Args:
        ctx: of a rule with _WRITER.
        name: the layer's, unique in its target.
        arguments: Args with what goes into it.
        inputs: depset of files.
        writer: the program.
    Returns:
        struct(tar, index).
    """
    base = ctx.label.name if name == ctx.label.name else "%s.%s" % (ctx.label.name, name)
    tar = ctx.actions.declare_file(base + ".tar")
    index = ctx.actions.declare_file(base + ".json")
    common = ctx.actions.args()
    common.add(name, format = "--name=%s")
    common.add(tar, format = "--tar=%s")
    common.add(index, format = "--index=%s")
    common.add(ctx.attr._plant[BuildSettingInfo].value, format = "--plant=%s")
    interpreter = []
    if ctx.attr.interpreter:
        interpreter = ctx.attr.interpreter[DefaultInfo].files.to_list()
        common.add_all(interpreter, expand_directories = False, format_each = "--interpreter=%s")
    arguments.use_param_file("@%s", use_always = True)
    arguments.set_param_file_format("multiline")
    ctx.actions.run(
        outputs = [tar, index],
        inputs = depset(interpreter, transitive = [inputs]),
        executable = writer,
        arguments = [common, arguments],
        mnemonic = "OciLayer",
        progress_message = "Writing the layer %s of %s" % (name, ctx.label),
    )
    return struct(tar = tar, index = index)

def _layers(layers):
    files = [file for layer in layers for file in [layer.tar, layer.index]]
    return [DefaultInfo(files = depset(files)), OciLayersInfo(layers = layers)]

def _oci_layer_impl(ctx):
    arguments = ctx.actions.args()
    for target, path in ctx.attr.files.items():
        for file in target[DefaultInfo].files.to_list():
            arguments.add("--file=%s\t%s" % (file.path, path + file.basename if path.endswith("/") else path))
    for path, target in ctx.attr.symlinks.items():
        arguments.add("--symlink=%s\t%s" % (path, target))
    for path, mode in ctx.attr.directories.items():
        arguments.add("--directory=%s\t%s" % (path, mode))
    inputs = depset(transitive = [target[DefaultInfo].files for target in ctx.attr.files])
    return _layers([_write(ctx, ctx.label.name, arguments, inputs, ctx.executable._writer)])

oci_layer = rule(
    implementation = _oci_layer_impl,
    attrs = dict(
        _WRITER,
        directories = attr.string_dict(doc = "Path to octal mode; directories above a file need not be named."),
        files = attr.label_keyed_string_dict(
            allow_files = True,
            doc = "Where files go: a path, or a directory (a slash at its end) that takes them by their own names.",
        ),
        symlinks = attr.string_dict(doc = "Path to target, as written."),
    ),
    doc = "A layer of files, links and directories.",
)

def _oci_debian_layer_impl(ctx):
    arguments = ctx.actions.args()
    arguments.add_all(ctx.files.debs, format_each = "--deb=%s")
    arguments.add(ctx.attr.user, format = "--user=%s")
    return _layers([_write(ctx, ctx.label.name, arguments, depset(ctx.files.debs), ctx.executable._debian_writer)])

oci_debian_layer = rule(
    implementation = _oci_debian_layer_impl,
    attrs = dict(
        _WRITER,
        debs = attr.label_list(
            allow_files = [".deb"],
            doc = "Debian packages; no maintainer script is run.",
            mandatory = True,
        ),
        user = attr.string(
            doc = "NAME:ID of the user that programs run as; its group has the same name and ID.",
            mandatory = True,
        ),
        _debian_writer = attr.label(
            cfg = "exec",
            default = "//tools/oci/layers:build_debian_layer",
            executable = True,
        ),
    ),
    doc = "A root file system out of Debian packages: merged /usr, certificate bundle, users.",
)

def _lock_transition_impl(settings, attributes):
    return {_LOCK: attributes.lock or settings[_LOCK]}

_lock_transition = transition(
    implementation = _lock_transition_impl,
    inputs = [_LOCK],
    outputs = [_LOCK],
)

_PYTHON = dict(
    _WRITER,
    deps = attr.label_list(
        doc = "Python targets, with all that they need.",
        mandatory = True,
        providers = [PyInfo],
    ),
    lock = attr.string(doc = "The lock that @pypi is, `cpu` or `cuda`; by default the build's own."),
    _allowlist_function_transition = attr.label(
        default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
    ),
)

def _python(ctx):
    """The arguments and files of Python targets: (imports, first-party files, other files)."""
    imports = depset(transitive = [dep[PyInfo].imports for dep in ctx.attr.deps])
    runfiles = depset(transitive = [dep[DefaultInfo].default_runfiles.files for dep in ctx.attr.deps])
    ours = []
    others = []
    for file in runfiles.to_list():
        (others if file.short_path.startswith("../") else ours).append(file)
    return imports, ours, others

def _python_arguments(ctx, imports, files):
    arguments = ctx.actions.args()
    arguments.add("--site-packages=" + SITE_PACKAGES)
    arguments.add("--main-repository=" + ctx.workspace_name)
    arguments.add_all(imports, format_each = "--import=%s")
    arguments.add_all(files, expand_directories = False, format_each = "--runfile=%s", map_each = _source_line)
    return arguments

def _may_hold(names):
    """Whether a file may belong to one of some distributions, by the name of its repository."""
    return ["_%s_" % name.lower().replace("-", "_").replace(".", "_") for name in names]

def _oci_python_packages_impl(ctx):
    imports, _, files = _python(ctx)
    below = [layer for target in ctx.attr.above for layer in target[OciLayersInfo].layers]
    indices = [layer.index for layer in below]
    left_out = ctx.files.left_out
    named = [name for names in ctx.attr.tiers.values() for name in names]
    layers = []
    for tier, names in ctx.attr.tiers.items():
        parts = _may_hold(names)

        # The writer looks at the distributions themselves; this only spares it most of the others.
        chosen = [file for file in files if [part for part in parts if part in file.short_path.split("/")[1] + "_"]]
        arguments = _python_arguments(ctx, imports, chosen)
        arguments.add_all(names, format_each = "--only=%s")
        arguments.add_all(left_out, format_each = "--left-out=%s")
        layers.append(_write(ctx, tier, arguments, depset(chosen + left_out), ctx.executable._writer))
    arguments = _python_arguments(ctx, imports, files)
    arguments.add_all(named, format_each = "--without=%s")
    arguments.add_all(indices, format_each = "--above=%s")
    arguments.add_all(left_out, format_each = "--left-out=%s")
    arguments.add("--sources")
    layers.append(_write(ctx, ctx.label.name, arguments, depset(files + indices + left_out), ctx.executable._writer))
    return _layers(layers)

oci_python_packages = rule(
    implementation = _oci_python_packages_impl,
    attrs = dict(
        _PYTHON,
        above = attr.label_list(
            doc = "Layers that lie below these; what they hold is left out.",
            providers = [OciLayersInfo],
        ),
        left_out = attr.label(
            allow_single_file = True,
            doc = "A list of directories of distributions that the image does without; see tools/oci/layers/left_out.py.",
        ),
        tiers = attr.string_list_dict(
            doc = "Layers of their own: name to distributions. All others are one layer more, named like the target.",
        ),
    ),
    cfg = _lock_transition,
    doc = "The distributions that Python targets need, as layers of one site-packages.",
)

def _oci_python_sources_impl(ctx):
    imports, files, _ = _python(ctx)
    arguments = _python_arguments(ctx, imports, files)
    arguments.add("--sources")
    return _layers([_write(ctx, ctx.label.name, arguments, depset(files), ctx.executable._writer)])

oci_python_sources = rule(
    implementation = _oci_python_sources_impl,
    attrs = _PYTHON,
    cfg = _lock_transition,
    doc = "This repository's own files that Python targets need, as a layer of the same site-packages.",
)

def _oci_interpreter_impl(ctx):
    out = ctx.actions.declare_directory(ctx.label.name)
    arguments = ctx.actions.args()
    arguments.add_all(ctx.files.debs, format_each = "--deb=%s")
    arguments.add_all([out], expand_directories = False, format_each = "--out=%s")
    ctx.actions.run(
        outputs = [out],
        inputs = ctx.files.debs,
        executable = ctx.executable._unpack,
        arguments = [arguments],
        mnemonic = "OciInterpreter",
    )
    return [DefaultInfo(files = depset([out]))]

oci_interpreter = rule(
    implementation = _oci_interpreter_impl,
    attrs = {
        "debs": attr.label_list(
            allow_files = [".deb"],
            doc = "Debian's minimal Python and the libraries that it is linked with.",
            mandatory = True,
        ),
        "_unpack": attr.label(
            cfg = "exec",
            default = "//tools/oci/layers:build_interpreter",
            executable = True,
        ),
    },
    doc = "An image's Python, unpacked so that it runs while the image is built.",
)
