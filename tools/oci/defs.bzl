"""Rules for OCI images: canonical layers, no daemon, no network. docs/images.md shows their use.

Attributes are named as rules_oci names them where they mean the same.
"""

load(":commands.bzl", _oci_load = "oci_load", _oci_push = "oci_push", _oci_report = "oci_report")
load(":images.bzl", _oci_image = "oci_image")
load(
    ":layers.bzl",
    _oci_debian_layer = "oci_debian_layer",
    _oci_interpreter = "oci_interpreter",
    _oci_layer = "oci_layer",
    _oci_python_packages = "oci_python_packages",
    _oci_python_sources = "oci_python_sources",
)
load(":sbom.bzl", _oci_sbom = "oci_sbom")

oci_debian_layer = _oci_debian_layer
oci_image = _oci_image
oci_interpreter = _oci_interpreter
oci_layer = _oci_layer
oci_load = _oci_load
oci_push = _oci_push
oci_python_packages = _oci_python_packages
oci_python_sources = _oci_python_sources
oci_report = _oci_report
oci_sbom = _oci_sbom
