"""`oci_image`: layers and a configuration to an image layout."""

load("@bazel_skylib//rules:common_settings.bzl", "BuildSettingInfo")
load(":providers.bzl", "OciImageInfo", "OciLayersInfo")

def _compressed(ctx, layer, algorithm, number):
    if algorithm == "none":
        return struct(blob = layer.tar, index = layer.index, descriptor = None)
    blob = ctx.actions.declare_file("%s.%d.%s" % (ctx.label.name, number, algorithm))
    descriptor = ctx.actions.declare_file("%s.%d.%s.json" % (ctx.label.name, number, algorithm))
    ctx.actions.run(
        outputs = [blob, descriptor],
        inputs = [layer.tar],
        executable = ctx.executable._compress,
        arguments = [
            "--algorithm=" + algorithm,
            "--tar=" + layer.tar.path,
            "--blob=" + blob.path,
            "--descriptor=" + descriptor.path,
            "--plant=" + ctx.attr._plant[BuildSettingInfo].value,
        ],
        mnemonic = "OciCompress",
    )
    return struct(blob = blob, index = layer.index, descriptor = descriptor)

def _inherited(ctx, base):
    """The configuration: the base's, with what is said here on top of it."""
    flags = {name: flag[BuildSettingInfo].value for flag, name in ctx.attr.label_flags.items()}
    labels = dict(ctx.attr.labels, **{name: value for name, value in flags.items() if value})
    settings = {
        "annotations": ctx.attr.annotations,
        "architecture": ctx.attr.architecture or base.get("architecture", "amd64"),
        "cmd": ctx.attr.cmd or ([] if ctx.attr.entrypoint else base.get("cmd", [])),
        "entrypoint": ctx.attr.entrypoint or base.get("entrypoint", []),
        "env": dict(base.get("env", {}), **ctx.attr.env),
        "exposed_ports": ctx.attr.exposed_ports or base.get("exposed_ports", []),
        "labels": dict(base.get("labels", {}), **labels),
        "os": ctx.attr.os or base.get("os", "linux"),
        "stop_signal": ctx.attr.stop_signal or base.get("stop_signal", ""),
        "user": ctx.attr.user or base.get("user", ""),
        "variant": ctx.attr.variant or base.get("variant", ""),
        "volumes": ctx.attr.volumes or base.get("volumes", []),
        "workdir": ctx.attr.workdir or base.get("workdir", ""),
    }
    if base and base["architecture"] != settings["architecture"]:
        fail("%s is for %s, its base for %s" % (ctx.label, settings["architecture"], base["architecture"]))
    return settings

def _oci_image_impl(ctx):
    base = ctx.attr.base[OciImageInfo] if ctx.attr.base else struct(layers = [], settings = {})
    settings = _inherited(ctx, base.settings)
    algorithm = ctx.attr._compression[BuildSettingInfo].value
    own = [layer for target in ctx.attr.layers for layer in target[OciLayersInfo].layers]
    layers = base.layers + [_compressed(ctx, layer, algorithm, number) for number, layer in enumerate(own)]

    layout = ctx.actions.declare_directory(ctx.label.name)
    digest = ctx.actions.declare_file(ctx.label.name + ".digest")
    contents = ctx.actions.declare_file(ctx.label.name + ".contents.json")
    configuration = ctx.actions.declare_file(ctx.label.name + ".settings.json")
    ctx.actions.write(configuration, json.encode(settings))

    arguments = ctx.actions.args()
    arguments.add(ctx.label.name, format = "--name=%s")
    arguments.add(configuration, format = "--settings=%s")
    arguments.add_all([layout], expand_directories = False, format_each = "--layout=%s")
    arguments.add(digest, format = "--digest=%s")
    arguments.add(contents, format = "--contents=%s")
    inputs = [configuration]
    if ctx.attr.base:
        arguments.add(base.digest, format = "--base-digest=%s")
        inputs.append(base.digest)
    for layer in layers:
        descriptor = layer.descriptor.path if layer.descriptor else ""
        arguments.add("--layer=%s\t%s\t%s" % (layer.blob.path, layer.index.path, descriptor))
        inputs += [layer.blob, layer.index] + ([layer.descriptor] if layer.descriptor else [])
    arguments.use_param_file("@%s")
    arguments.set_param_file_format("multiline")
    ctx.actions.run(
        outputs = [layout, digest, contents],
        inputs = inputs,
        executable = ctx.executable._assemble,
        arguments = [arguments],
        # Run outside the sandbox (--strategy in the rc files), so that blobs are linked and not copied.
        mnemonic = "OciImage",
        progress_message = "Assembling the image %s" % ctx.label,
    )
    return [
        DefaultInfo(files = depset([layout, digest]), runfiles = ctx.runfiles(files = [layout, digest])),
        OciImageInfo(contents = contents, digest = digest, layers = layers, layout = layout, settings = settings),
        OutputGroupInfo(contents = depset([contents]), digest = depset([digest]), layout = depset([layout])),
    ]

oci_image = rule(
    implementation = _oci_image_impl,
    attrs = {
        "annotations": attr.string_dict(doc = "Of the manifest."),
        "architecture": attr.string(doc = "As Go spells it: amd64, arm64. Default: the base's, or amd64."),
        "base": attr.label(
            doc = "The oci_image below; its configuration holds where nothing is said here.",
            providers = [OciImageInfo],
        ),
        "cmd": attr.string_list(doc = "Arguments of the entry point that a user may replace."),
        "entrypoint": attr.string_list(doc = "The program, which must be in the image, and its arguments."),
        "env": attr.string_dict(doc = "Environment variables, on top of the base's."),
        "exposed_ports": attr.string_list(doc = "As `8080/tcp`."),
        "label_flags": attr.label_keyed_string_dict(
            doc = "Flags to the labels that they set, where they are not empty.",
            providers = [BuildSettingInfo],
        ),
        "labels": attr.string_dict(doc = "On top of the base's."),
        "layers": attr.label_list(
            doc = "The lowest first.",
            providers = [OciLayersInfo],
        ),
        "os": attr.string(doc = "Default: the base's, or linux."),
        "stop_signal": attr.string(doc = "Sent to ask the program to end."),
        "user": attr.string(doc = "ID:GROUP, numbers, so that Kubernetes can see that it is not root."),
        "variant": attr.string(doc = "Of the architecture, as `v8`."),
        "volumes": attr.string_list(doc = "Paths that programs write to."),
        "workdir": attr.string(doc = "Where the program starts."),
        "_assemble": attr.label(
            cfg = "exec",
            default = "//tools/oci/image:build_image",
            executable = True,
        ),
        "_compress": attr.label(
            cfg = "exec",
            default = "//tools/oci/layers:compress",
            executable = True,
        ),
        "_compression": attr.label(default = "//tools/oci:compression"),
        "_plant": attr.label(default = "//tools/oci:plant"),
    },
    doc = "An OCI image layout `NAME/`, and `NAME.digest` with the digest of its manifest.",
)
