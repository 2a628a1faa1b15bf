"""The volumes of a pod, as directories of this machine (https://kubernetes.io/docs/concepts/storage/volumes/)."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from retort.core.atomic import storage_errors
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.node.pods.environment import expanded
from retort.launch.cluster.node.pods.sources import (
    CLAIM,
    CONFIG_MAP,
    SECRET,
    NotThere,
    Sources,
)
from retort.launch.units import quantity

_FILE_MODE = 0o644


@dataclass(frozen=True)
class Volume:
    """A directory or file of this machine, or memory.

    Attributes:
        path: on this machine; None for memory, which each container has for itself.
        size: of memory, in bytes; None for as much as there is.
        readonly: whether nobody may write to it.
    """

    path: Path | None
    size: int | None = None
    readonly: bool = False


@dataclass(frozen=True)
class Mount:
    """A volume, or a part of it, at a path of a container."""

    at: str
    volume: Volume
    readonly: bool


def prepare(
    pod: JSONObject, sources: Sources, folder: Path, claims: Callable[[str], Path]
) -> dict[str, Volume]:
    """Make the volumes of a pod.

    Args:
        folder: of the pod, for what is its own.
        claims: where the claim of a name is kept.
    Returns:
        Them, by name.
    Raises:
        NotThere: a claim is not bound, an object is not there, or a kind of volume is not known here.
        StorageError: they cannot be written.
    """
    found = {}
    for volume in pod["spec"].get("volumes") or ():
        name = volume["name"]
        place = folder / name
        try:
            found[name] = _volume(volume, sources, place, claims)
        except NotThere as error:
            raise NotThere(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
    return found


def _volume(
    volume: JSONObject, sources: Sources, place: Path, claims: Callable[[str], Path]
) -> Volume:
    if "emptyDir" in volume:
        asked = volume["emptyDir"]
        if asked.get("medium") == "Memory":
            limit = asked.get("sizeLimit")
            return Volume(None, int(quantity(str(limit))) if limit is not None else None)
        with storage_errors(place):
            place.mkdir(parents=True, exist_ok=True)
        return Volume(place)
    if asked := volume.get("persistentVolumeClaim"):
        return _claimed(asked, sources, claims)
    if asked := volume.get("hostPath"):
        return _on_host(asked)
    if asked := volume.get("projected"):
        files: dict[str, tuple[bytes, int]] = {}
        for source in asked.get("sources") or ():
            files.update(_files(source, sources))
        return _written(place, files)
    if not volume.keys() & {"configMap", "secret", "downwardAPI"}:
        kind = next(iter(volume.keys() - {"name"}), "")
        raise NotThere(f"a local cluster has no volumes of the kind {kind}")
    return _written(place, dict(_files(volume, sources)))


def _claimed(asked: JSONObject, sources: Sources, claims: Callable[[str], Path]) -> Volume:
    name = asked["claimName"]
    claim = sources.find(CLAIM, name)
    if claim is None:
        raise NotThere(f'persistentvolumeclaim "{name}" not found')
    if (claim.get("status") or {}).get("phase") != "Bound":
        raise NotThere(f'persistentvolumeclaim "{name}" is not bound')
    return Volume(claims(name), readonly=bool(asked.get("readOnly")))


def _on_host(asked: JSONObject) -> Volume:
    path = Path(asked["path"])
    if asked.get("type") == "DirectoryOrCreate":
        with storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        raise NotThere(f"hostPath: {path} is not there")
    return Volume(path)


def _files(asked: JSONObject, sources: Sources) -> Iterator[tuple[str, tuple[bytes, int]]]:
    """Path, content and mode of each file that an object becomes."""
    for kind, word in ((CONFIG_MAP, "configMap"), (SECRET, "secret")):
        if word not in asked:
            continue
        source = asked[word]
        name = source.get("secretName") or source["name"]
        optional = bool(source.get("optional"))
        content = sources.content(kind, name, optional=optional)
        mode = source.get("defaultMode", _FILE_MODE)
        for item in source.get("items") or [{"key": key, "path": key} for key in content]:
            if item["key"] in content:
                yield item["path"], (content[item["key"]], item.get("mode", mode))
            elif not optional:
                raise NotThere(f"references non-existent config key: {item['key']}")
    for item in (asked.get("downwardAPI") or {}).get("items") or ():
        if reference := item.get("fieldRef"):
            text = sources.field(reference["fieldPath"])
        else:
            text = sources.resource(item["resourceFieldRef"], "")
        yield item["path"], (text.encode(), item.get("mode", _FILE_MODE))


def _written(place: Path, files: Mapping[str, tuple[bytes, int]]) -> Volume:
    with storage_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        for name, (content, mode) in files.items():
            path = place / name
            if not path.resolve().is_relative_to(place.resolve()):
                raise NotThere(f"path {name} is outside of the volume")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(mode)
    return Volume(place, readonly=True)


def mounts(
    container: JSONObject, volumes: Mapping[str, Volume], variables: Mapping[str, str]
) -> Iterable[Mount]:
    """Where a container has which volumes, in the order in which they are mounted: a path before what is below it.

    Raises:
        NotThere: a part of a volume is not there, or a volume.
        StorageError: a part of a volume cannot be made.
    """
    found = []
    for mount in container.get("volumeMounts") or ():
        volume = volumes.get(mount["name"])
        if volume is None:
            raise NotThere(f'volume "{mount["name"]}" is none of the pod')
        part = mount.get("subPath") or expanded(mount.get("subPathExpr") or "", variables)
        if part and volume.path is not None:
            volume = Volume(_part(volume, part), readonly=volume.readonly)
        readonly = volume.readonly or bool(mount.get("readOnly"))
        found.append(Mount(mount["mountPath"].rstrip("/") or "/", volume, readonly))
    return sorted(found, key=lambda mount: mount.at.split("/"))


def _part(volume: Volume, part: str) -> Path:
    assert volume.path is not None
    path = volume.path / part
    if part.startswith("/") or ".." in part.split("/"):
        raise NotThere(f"subPath {part} is outside of the volume")
    if not path.exists():
        if volume.readonly:
            raise NotThere(f"subPath {part} is not in the volume")
        with storage_errors(path):
            path.mkdir(parents=True)
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(volume.path)):
        raise NotThere(f"subPath {part} leads out of the volume")
    return path
