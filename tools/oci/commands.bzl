"""What `bazel run` does with an image: push it, load it, report on it."""

load("//tools/python:defs.bzl", "py_binary")

def _command(name, program, library, image, args, data, tags):
    """A program of tools/oci that gets the layout of an image as its first argument."""
    native.filegroup(
        name = name + ".layout",
        srcs = [image],
        output_group = "layout",
        tags = tags,
    )
    py_binary(
        name = name,
        srcs = [program],
        args = ["--layout=built:$(rootpath %s.layout)" % name] + args,
        data = [name + ".layout"] + data,
        main = program,
        tags = tags,
        deps = [library],
    )

def oci_push(name, image, sbom, target, locks = [], repository = None, remote_tags = [], tags = []):
    """Pushes an image to a registry by its digest, and attaches bill of materials and provenance.

    `bazel run //docker:training.push -- --repository HOST/REPOSITORY --tag TAG [--key KEY.pem]`

    Args:
        name: the target.
        image: an oci_image.
        sbom: its oci_sbom.
        target: the label that the provenance names.
        locks: lock files that the provenance names.
        repository: where to, if that is not to be said on the command line.
        remote_tags: tags to give it in the repository.
        tags: as for every rule.
    """
    _command(
        name,
        "//tools/oci/attest:publish.py",
        "//tools/oci/attest:signing",
        image,
        args = ["--sbom=built:$(rootpath %s)" % sbom, "--target=" + target] +
               ["--locks=built:$(rootpath %s)" % lock for lock in locks] +
               (["--repository=" + repository] if repository else []) +
               ["--tag=" + tag for tag in remote_tags],
        data = [sbom] + locks,
        tags = tags,
    )

def oci_load(name, image, repo_tag, tags = []):
    """Loads an image into docker or podman, or writes an archive for them.

    `bazel run //docker:training.load [-- --archive FILE]`

    Args:
        name: the target.
        image: an oci_image.
        repo_tag: what the engine calls it, as `localhost/retort/training:latest`.
        tags: as for every rule.
    """
    _command(
        name,
        "//tools/oci/distribution:load.py",
        "//tools/oci/distribution",
        image,
        args = ["--tag=" + repo_tag],
        data = [],
        tags = tags,
    )

def oci_report(name, image, tags = []):
    """Reports the size of an image by layer and package.

    `bazel run //docker:training.report [-- --html FILE --against OLD.json]`

    Args:
        name: the target.
        image: an oci_image.
        tags: as for every rule.
    """
    native.filegroup(
        name = name + ".contents",
        srcs = [image],
        output_group = "contents",
        tags = tags,
    )
    _command(
        name,
        "//tools/oci/report:report.py",
        "//tools/oci/report:pages",
        image,
        args = ["--contents=built:$(rootpath %s.contents)" % name],
        data = [name + ".contents"],
        tags = tags,
    )
