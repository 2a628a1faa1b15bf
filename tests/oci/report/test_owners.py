"""Which package a file belongs to."""

import pytest

from tools.oci.report.owners import Owner, Owners, is_list

SITE = "opt/retort/lib/python3.11/site-packages/"
LISTS = {
    f"{SITE}torch-2.13.0+cpu.dist-info/RECORD": (
        b"torch/__init__.py,sha256=x,1\n"
        b"torch-2.13.0+cpu.dist-info/RECORD,,\n"
        b'"torch/a,b.py",,\n'
        b"../../../bin/torchrun,,\n"
        b"functorch.py,,\n"
    ),
    f"{SITE}nvidia_cublas-12.0.dist-info/RECORD": b"nvidia/cublas/lib/libcublas.so.12,,\n",
    f"{SITE}nvidia_cudnn-9.0.dist-info/RECORD": b"nvidia/cudnn/lib/libcudnn.so.9,,\n",
    f"{SITE}Old_Style-1.dist-info/top_level.txt": b"oldstyle\n",
    "var/lib/dpkg/status.d/libc6.md5sums": b"0123  lib/x86_64-linux-gnu/libc.so.6\n",
    "var/lib/dpkg/info/zlib1g:amd64.list": (
        b"/.\n/usr\n/usr/lib\n/usr/lib/x86_64-linux-gnu\n/usr/lib/x86_64-linux-gnu/libz.so.1\n"
    ),
    "var/lib/dpkg/info/tzdata.list": b"/usr/share/zoneinfo\n/usr/share/zoneinfo/UTC\n",
}
TORCH = Owner("pypi", "torch", "2.13.0+cpu")
OWNERS = Owners(LISTS, {"deb:base-files": ["/etc/debian_version"]})


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        (f"{SITE}torch/__init__.py", TORCH),
        (f"{SITE}torch/a,b.py", TORCH),
        (f"{SITE}torch/__pycache__/__init__.cpython-311.pyc", TORCH),
        (f"{SITE}torch-2.13.0+cpu.dist-info/METADATA", TORCH),
        ("opt/retort/bin/torchrun", TORCH),
        (f"{SITE}nvidia/cublas/lib/libcublasLt.so.12", Owner("pypi", "nvidia-cublas", "12.0")),
        (f"{SITE}nvidia/cudnn/include/x.h", Owner("pypi", "nvidia-cudnn", "9.0")),
        (f"{SITE}oldstyle/deep/x.py", Owner("pypi", "old-style", "1")),
        (f"{SITE}retort/core/seal.py", Owner("own", "retort")),
        (f"{SITE}lonely.py", Owner("own", "lonely")),
        ("lib/x86_64-linux-gnu/libc.so.6", Owner("deb", "libc6")),
        ("usr/lib/x86_64-linux-gnu/libc.so.6", Owner("deb", "libc6")),
        ("usr/lib/x86_64-linux-gnu/libz.so.1", Owner("deb", "zlib1g")),
        ("var/lib/dpkg/status.d/libc6.md5sums", Owner("deb", "libc6")),
        ("usr/share/zoneinfo/Europe/Zurich", Owner("deb", "tzdata")),
        ("usr/share/doc/libssl3/copyright", Owner("deb", "libssl3")),
        ("etc/debian_version", Owner("deb", "base-files")),
        ("usr/lib/x86_64-linux-gnu/libnew.so", Owner("other", "/usr/lib")),
        ("opt/retort/bin/other", Owner("other", "/opt/retort")),
        ("etc/passwd", Owner("other", "/etc")),
        ("init", Owner("other", "/")),
    ],
)
def test_the_owner_of_a_file(path: str, owner: Owner) -> None:
    assert OWNERS.of(path) == owner


def test_a_folder_of_two_packages_is_neither_s() -> None:
    assert OWNERS.of(f"{SITE}nvidia/README") == Owner("own", "nvidia")


def test_our_own_code_is_not_the_only_distribution_s() -> None:
    one = {path: text for path, text in LISTS.items() if "torch" in path}
    assert Owners(one, {}).of(f"{SITE}retort/x.py") == Owner("own", "retort")


@pytest.mark.parametrize("path", LISTS)
def test_a_list_is_known_by_its_path(path: str) -> None:
    assert is_list(path)
    assert not is_list(f"{path}.bak")
