"""Debian packages as files of an image, from packages made here."""

import io
import pathlib
import tarfile

import pytest

from tools.oci.errors import ImageError
from tools.oci.layers import build_debian_layer, debian_files, layer


def _tar(members: dict[str, tuple[bytes, bytes | str, int]]) -> bytes:
    """A tar of `path: (type, content or link target, mode)`."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as archive:
        for path, (kind, content, mode) in members.items():
            header = tarfile.TarInfo(path)
            header.type, header.mode, header.mtime = kind, mode, 12345
            header.uname = "somebody"
            if isinstance(content, str):
                header.linkname = content
                archive.addfile(header)
            else:
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
    return stream.getvalue()


def _file(content: bytes, mode: int = 0o644) -> tuple[bytes, bytes | str, int]:
    return tarfile.REGTYPE, content, mode


def _link(target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[bytes, bytes | str, int]:
    return kind, target, 0o777


def _deb(
    folder: pathlib.Path, name: str, members: dict[str, tuple[bytes, bytes | str, int]]
) -> pathlib.Path:
    control = f"Package: {name}\nVersion: 1:2.0-3\nArchitecture: amd64\nSource: src (2.0)\n\n"
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": _tar({"./control": _file(control.encode())}),
        "data.tar.xz": _tar(members),
    }
    content = b"!<arch>\n"
    for part, body in parts.items():
        content += f"{part:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n".encode()
        content += body + b"\n" * (len(body) % 2)
    path = folder / f"{name}.deb"
    path.write_bytes(content)
    return path


def test_a_package_is_unpacked_into_a_merged_usr(tmp_path: pathlib.Path) -> None:
    deb = _deb(
        tmp_path,
        "one",
        {
            "./lib/libx.so.1": _file(b"ELF"),
            "./lib/libx.so": _link("libx.so.1"),
            "./usr/bin/x": _file(b"ELF", 0o755),
            "./usr/bin/hard": _link("./usr/bin/x", tarfile.LNKTYPE),
            "./usr/share/man/man1/x.1.gz": _file(b""),
            "./usr/share/doc/one/copyright": _file(b"MIT"),
            "./usr/share/doc/one/changelog.gz": _file(b""),
        },
    )
    tree = debian_files.packages([deb])
    found = {entry.path: entry for entry in layer.canonical(tree.entries)}
    assert found["usr/lib/libx.so.1"].content == b"ELF"
    assert found["usr/lib/libx.so"].target == "libx.so.1"
    assert found["lib"].target == "usr/lib"
    assert found["usr/bin/hard"].content == b"ELF"
    assert found["usr/bin/hard"].mode == 0o755
    assert "usr/share/doc/one/copyright" in found
    assert not [path for path in found if "man" in path or "changelog" in path]
    assert b"Package: one" in bytes(found["var/lib/dpkg/status.d/one"].content)
    (package,) = tree.packages
    assert (package.name, package.version, package.source) == ("one", "1:2.0-3", "src")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"./usr/bin/su": _file(b"", 0o4755)}, "/usr/bin/su changes its user"),
        ({"./dev/null": (tarfile.CHRTYPE, b"", 0o666)}, "neither file, directory nor link"),
    ],
)
def test_what_an_image_must_not_hold_is_refused(
    tmp_path: pathlib.Path, members: dict[str, tuple[bytes, bytes | str, int]], reason: str
) -> None:
    with pytest.raises(ImageError, match=reason):
        debian_files.packages([_deb(tmp_path, "one", members)])


def test_what_is_no_package_is_refused(tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other.deb"
    other.write_bytes(b"PK")
    with pytest.raises(ImageError, match=r"other\.deb is not a Debian package"):
        debian_files.packages([other])
    other.write_bytes(b"!<arch>\n")
    with pytest.raises(ImageError, match=r"has no control\.tar"):
        debian_files.packages([other])


def test_a_root_file_system_has_users_and_certificates(tmp_path: pathlib.Path) -> None:
    certificates = {
        f"./usr/share/ca-certificates/mozilla/{name}.crt": _file(f"{name}\n".encode())
        for name in ("B", "A")
    }
    deb = _deb(tmp_path, "ca-certificates", certificates)
    arguments = ["--name=root", f"--tar={tmp_path / 'root.tar'}", f"--index={tmp_path / 'i.json'}"]
    build_debian_layer.main([*arguments, f"--deb={deb}", "--user=retort:65532"])
    with tarfile.open(tmp_path / "root.tar") as archive:
        bundle = archive.extractfile("etc/ssl/certs/ca-certificates.crt")
        passwd = archive.extractfile("etc/passwd")
        assert bundle is not None
        assert passwd is not None
        assert bundle.read() == b"A\nB\n"
        assert b"\nretort:x:65532:65532:" in passwd.read()


def test_without_certificates_there_is_no_root_file_system(tmp_path: pathlib.Path) -> None:
    deb = _deb(tmp_path, "one", {"./usr/bin/x": _file(b"")})
    with pytest.raises(ImageError, match="certificate authorities"):
        build_debian_layer.main(
            [
                *("--name=r", f"--tar={tmp_path / 't'}", f"--index={tmp_path / 'i'}"),
                *(f"--deb={deb}", "--user=retort:65532"),
            ]
        )
