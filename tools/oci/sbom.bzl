"""The bill of materials of an image, sealed beside it."""

def _oci_sbom_impl(ctx):
    sealed = ctx.actions.declare_directory(ctx.label.name)
    arguments = ctx.actions.args()
    arguments.add("--contents", ctx.file.contents)
    arguments.add("--digest-file", ctx.file.digest)
    arguments.add_all(ctx.files.locks, before_each = "--lock")

    # The path as a word: as a File, a directory would be spelled as the files in it.
    arguments.add("--out", sealed.path)
    ctx.actions.run(
        executable = ctx.executable._seal,
        arguments = [arguments],
        inputs = [ctx.file.contents, ctx.file.digest] + ctx.files.locks,
        outputs = [sealed],
        mnemonic = "OciSbom",
        progress_message = "Sealing the bill of materials %s" % ctx.label,
    )
    return [DefaultInfo(files = depset([sealed]), runfiles = ctx.runfiles([sealed]))]

oci_sbom = rule(
    implementation = _oci_sbom_impl,
    doc = "A sealed directory of kind `sbom`: `sbom.cdx.json` (CycloneDX 1.6) and `contents.json`.",
    attrs = {
        "contents": attr.label(
            allow_single_file = [".json"],
            mandatory = True,
            doc = "The image's contents file.",
        ),
        "digest": attr.label(
            allow_single_file = True,
            mandatory = True,
            doc = "The file with the digest of the image's manifest.",
        ),
        "locks": attr.label_list(
            allow_files = True,
            doc = "The lock files that the image was resolved from; inputs of the seal.",
        ),
        "_seal": attr.label(
            cfg = "exec",
            default = "//tools/oci:seal_sbom",
            executable = True,
        ),
    },
)
