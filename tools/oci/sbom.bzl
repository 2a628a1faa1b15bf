"""The bill of materials of an image, sealed beside it."""

load(":providers.bzl", "OciImageInfo")

def _oci_sbom_impl(ctx):
    image = ctx.attr.image[OciImageInfo]
    sealed = ctx.actions.declare_directory(ctx.label.name)
    arguments = ctx.actions.args()
    arguments.add("--contents", image.contents)
    arguments.add("--digest-file", image.digest)
    arguments.add_all(ctx.files.locks, before_each = "--lock")

    # The path as a word: as a File, a directory would be spelled as the files in it.
    arguments.add("--out", sealed.path)
    ctx.actions.run(
        executable = ctx.executable._seal,
        arguments = [arguments],
        inputs = [image.contents, image.digest] + ctx.files.locks,
        outputs = [sealed],
        mnemonic = "OciSbom",
        progress_message = "Sealing the bill of materials %s" % ctx.label,
    )
    return [DefaultInfo(files = depset([sealed]), runfiles = ctx.runfiles([sealed]))]

oci_sbom = rule(
    implementation = _oci_sbom_impl,
    attrs = {
        "image": attr.label(
            doc = "The oci_image whose packages are listed.",
            mandatory = True,
            providers = [OciImageInfo],
        ),
        "locks": attr.label_list(
            allow_files = True,
            doc = "The lock files that the image was resolved from; inputs of the seal.",
        ),
        "_seal": attr.label(
            cfg = "exec",
            default = "//tools/oci/attest:seal_sbom",
            executable = True,
        ),
    },
    doc = "A sealed directory of kind `sbom`: `sbom.cdx.json` (CycloneDX 1.6) and `contents.json`.",
)
