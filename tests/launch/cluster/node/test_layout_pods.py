"""Pods of an image that is an OCI layout: the root is the image's, and has what a pod is given."""

import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.launch.cluster.node.pods import (
    acting,
    create,
    ended,
    last,
    log,
    need_namespaces,
    pod,
    until,
)
from tests.oci.distribution import tiny_layouts

IMAGE = "local/small"


def _layer(*programs: str) -> bytes:
    """Programs of this machine with their libraries, and an /etc that has no hosts."""
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    libraries = {word for line in said.splitlines() for word in line.split() if word[0] == "/"}
    files = {*programs, *(one for one in libraries if not one.endswith(":"))}
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        etc = tarfile.TarInfo("etc")
        etc.type, etc.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(etc)
        for file in sorted(files):
            path = Path(file).resolve()
            member = archive.gettarinfo(str(path), arcname=file.lstrip("/"))
            with path.open("rb") as stream:
                archive.addfile(member, stream)
    return content.getvalue()


def test_a_program_below_tmp_sees_what_lies_beside_it_and_no_other_of_it(tmp_path: Path) -> None:
    need_namespaces()
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as mine,
        tempfile.TemporaryDirectory(dir="/tmp") as other,
    ):
        program = Path(mine, "bin", "program")
        program.parent.mkdir()
        Path(mine, "beside").write_text("it is here\n")
        script = f"cat {mine}/beside; ls -d {other}; touch {mine}/x; touch /tmp/x && echo written"
        program.write_text(f"#!/bin/sh\n{script}\n")
        for each in (Path(mine), program):
            each.chmod(0o755)
        with acting(tmp_path / "cluster", images={IMAGE: program}) as cluster:
            create(cluster, pod("p", "", IMAGE, container={"args": []}))
            said = log(cluster, until(cluster, "p", ended)).splitlines()
    assert (said[0], said[-1]) == ("it is here", "written")
    assert "No such file" in said[1]
    assert "Read-only" in said[2]


def test_a_pod_has_the_image_for_a_root_and_names_in_its_hosts(tmp_path: Path) -> None:
    need_namespaces()
    layout = tiny_layouts.write(tmp_path / "layout", [_layer("/bin/sh", "/bin/cat", "/bin/ls")])
    image = f"{IMAGE}@{layout.image.digest}"
    command = {"command": ["/bin/sh"], "args": ["-c", "/bin/ls /bin; /bin/cat /etc/hosts"]}
    with acting(tmp_path / "cluster", images={IMAGE: layout.path}) as cluster:
        create(cluster, pod("p", "", image, container=command))
        done = until(cluster, "p", ended)
        said = log(cluster, done)
    assert last(done)["exitCode"] == 0, said
    names, hosts = said.split("sh\n", 1)
    assert names.split() == ["cat", "ls"]
    assert "localhost" in hosts and done["status"]["podIP"] in hosts
