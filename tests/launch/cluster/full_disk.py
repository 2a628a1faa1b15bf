"""A cluster on a disk that is full soon, inside a name space that may mount one: prints what became of it."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes import client

from tests.launch.cluster.running import ClusterProcess, core_client

NAMESPACE = "default"


def make(core: Any, name: str) -> str:
    metadata = client.V1ObjectMeta(name=name)
    data = {"text": "x" * 20_000}
    core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=metadata, data=data))
    return name


def names(core: Any) -> list[str]:
    listed = core.list_namespaced_config_map(NAMESPACE).items
    return [one.metadata.name for one in listed]


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


if __name__ == "__main__":
    disk = Path(sys.argv[1])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], check=True)
    with ClusterProcess(disk / "here") as cluster:
        core = core_client(cluster.kubeconfig)
        acknowledged = [make(core, "before")]
        fill(disk / "filler")
        refusal = None
        while refusal is None:
            try:
                acknowledged.append(make(core, f"full-{len(acknowledged):04}"))
            except client.ApiException as error:
                refusal = error
        told = json.loads(refusal.body or "")
        (disk / "filler").unlink()
        acknowledged.append(make(core, "with-room"))
        read = set(names(core))
        cluster.kill()
        lines = [line for line in cluster.lines if line != cluster.ready]
    with ClusterProcess(disk / "here") as cluster:
        after = set(names(core_client(cluster.kubeconfig)))
    in_order = [name for name in acknowledged if name in read]
    result = {
        "status": refusal.status,
        "reason": told["reason"],
        "message": told["message"],
        "acknowledged": acknowledged,
        "read": in_order + sorted(read - set(acknowledged)),
        "after": [one for one in acknowledged if one in after] + sorted(after - set(acknowledged)),
        "lines": lines,
    }
    print(json.dumps(result))
