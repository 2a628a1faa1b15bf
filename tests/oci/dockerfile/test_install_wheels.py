"""How the Dockerfile's packages and sources come into a site-packages."""

import importlib.util
import pathlib
import zipfile

import pytest

from tools.oci.dockerfile.build_graph import closure
from tools.oci.dockerfile.install_app import install
from tools.oci.dockerfile.install_wheels import add_byte_code, unpack
from tools.oci.dockerfile.requirements import PROGRAMS
from tools.oci.errors import ImageError

ROOT = pathlib.Path(__file__).resolve().parents[3]
PEP_552_UNCHECKED = 1
KERNELS = "//python/retort/kernels/c:compiled"


def _wheel(path: pathlib.Path, files: dict[str, str], executable: str = "") -> pathlib.Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o755 if name == executable else 0o600) << 16
            archive.writestr(member, content)
    return path


def _modes(folder: pathlib.Path) -> dict[str, int]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777 for path in found}


@pytest.mark.parametrize(
    ("member", "goes"),
    [
        ("a/b.py", "a/b.py"),
        ("a-1.data/purelib/a/b.py", "a/b.py"),
        ("a-1.data/platlib/a.so", "a.so"),
        ("a-1.data/scripts/run", None),
        ("a-1.data/data/share/man/a.1", None),
        ("a-1.data/headers/a.h", None),
        ("a/BUILD", None),
        ("a/BUILD.bazel", None),
        ("a/__pycache__/b.cpython-311.pyc", None),
        ("a/b.pyc", None),
        ("bin/run", None),
        ("a/bin/run", "a/bin/run"),
        ("a-1.dist-info/RECORD", "a-1.dist-info/RECORD"),
        ("a/b/tests/test_c.py", None),
        ("a-1.data/purelib/torch/test/d", None),
    ],
)
def test_members_go_where_images_have_them(
    tmp_path: pathlib.Path, member: str, goes: str | None
) -> None:
    wheel = _wheel(tmp_path / "a.whl", {member: ""})
    unpack(wheel, tmp_path / "site", "tests/\ntorch/test/")
    assert list(_modes(tmp_path / "site")) == ([] if goes is None else [goes])


@pytest.mark.parametrize("member", ["../a.py", "a/../../b.py", "a-1.data/purelib//etc/passwd"])
def test_a_member_that_leads_outside_is_refused(tmp_path: pathlib.Path, member: str) -> None:
    with pytest.raises(ImageError, match="outside"):
        unpack(_wheel(tmp_path / "a.whl", {member: ""}), tmp_path / "site")


def test_modes_are_0644_or_0755_whatever_the_wheel_says(tmp_path: pathlib.Path) -> None:
    wheel = _wheel(
        tmp_path / "a.whl",
        {"a/__init__.py": "", "a/tests/b.py": "", "a/tool": "#!"},
        executable="a/tool",
    )
    unpack(wheel, tmp_path / "site", "tests/\n")
    assert _modes(tmp_path / "site") == {"a/__init__.py": 0o644, "a/tool": 0o755}


def test_two_wheels_may_share_a_file_but_not_disagree(tmp_path: pathlib.Path) -> None:
    one = _wheel(tmp_path / "one.whl", {"shared/__init__.py": "1"})
    same = _wheel(tmp_path / "same.whl", {"shared/__init__.py": "1"})
    other = _wheel(tmp_path / "other.whl", {"shared/__init__.py": "2"})
    unpack(one, tmp_path / "site")
    unpack(same, tmp_path / "site")
    with pytest.raises(ImageError, match=r"other\.whl and another wheel differ in shared"):
        unpack(other, tmp_path / "site")


def test_byte_code_is_by_hash_and_unchecked(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "a.py"
    source.write_text("x = 1\n")
    (tmp_path / "template.py").write_text("{{ not python }\n")
    add_byte_code(tmp_path)
    (compiled,) = tmp_path.glob("__pycache__/*.pyc")
    content = compiled.read_bytes()
    assert int.from_bytes(content[4:8], "little") == PEP_552_UNCHECKED
    assert content[8:16] == importlib.util.source_hash(source.read_bytes())


@pytest.mark.parametrize("image", PROGRAMS)
def test_the_app_is_what_its_program_needs(tmp_path: pathlib.Path, image: str) -> None:
    kernels = tmp_path / "kernels_x.so"
    kernels.write_bytes(b"made")
    place = tmp_path / "site-packages"
    install(ROOT, image, place, {KERNELS: kernels})
    expected = {
        path.relative_to("python").as_posix(): 0o644
        for path in closure(ROOT, PROGRAMS[image]).files
    }
    assert _modes(place) == {**expected, "retort/kernels/c/kernels_x.so": 0o755}


def test_an_app_without_what_rules_make_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImageError, match=f"--made {KERNELS}=FILE: "):
        install(ROOT, "training", tmp_path)
