"""As much of the API's description as clients need before they write: which requests take which options.

The fields of objects are not described: `kubectl explain` finds nothing here.
"""

import hashlib
import json
from typing import Any

from retort.core.digest import canonical_json
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import GROUP_VERSIONS, kinds_of

_OPTIONS = ("dryRun", "fieldManager", "fieldValidation", "force")
SWAGGER_IN_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_INFO = {"title": "Kubernetes", "version": "v1.37.0+retort"}


def paths() -> JSONObject:
    """At `/openapi/v3`: where each version of each group is described."""
    found = {}
    for group, version in GROUP_VERSIONS:
        at = f"apis/{group}/{version}" if group else f"api/{version}"
        digest = hashlib.sha256(canonical_json(described(group, version))).hexdigest()
        found[at] = {"serverRelativeURL": f"/openapi/v3/{at}?hash={digest}"}
    return {"paths": found}


def described(group: str, version: str) -> JSONObject | None:
    """At `/openapi/v3/...`: one version of one group; None where there is none."""
    if (group, version) not in GROUP_VERSIONS:
        return None
    kinds = kinds_of(group, version)
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": {_path(kind): _operations(kind) for kind in kinds},
        "components": {
            "schemas": {
                _schema_name(kind): {
                    "type": "object",
                    "x-kubernetes-group-version-kind": [_names(kind)],
                }
                for kind in kinds
            }
        },
    }


def swagger() -> JSONObject:
    """At `/openapi/v2`, for older clients."""
    kinds = [kind for one in GROUP_VERSIONS for kind in kinds_of(*one)]
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": {_path(kind): _operations(kind) for kind in kinds},
        "definitions": {
            _schema_name(kind): {
                "type": "object",
                "x-kubernetes-group-version-kind": [_names(kind)],
            }
            for kind in kinds
        },
    }


def swagger_in_protobuf() -> bytes:
    """As much of `swagger` as kubectl reads of it, which it reads in protocol buffers alone when it is to
    send a List: the patches, and the options that they take
    (https://github.com/google/gnostic-models, openapiv2/OpenAPIv2.proto)."""
    kinds = [kind for one in GROUP_VERSIONS for kind in kinds_of(*one)]
    info = _part(1, _INFO["title"]) + _part(2, _INFO["version"])
    paths = b"".join(
        _part(2, _part(1, _path(kind)) + _part(2, _part(8, _patch_in_protobuf(kind))))
        for kind in kinds
    )
    return _part(1, "2.0") + _part(2, info) + _part(8, paths)


def _patch_in_protobuf(kind: Kind) -> bytes:
    # Of a parameter that is none of a body, the fourth field of one in the query is its name.
    options = b"".join(
        _part(8, _part(1, _part(2, _part(3, _part(2, "query") + _part(4, one)))))
        for one in _OPTIONS
    )
    names = "".join(f"{key}: {json.dumps(value)}\n" for key, value in _names(kind).items())
    known = _part(1, "x-kubernetes-group-version-kind") + _part(2, _part(2, names))
    return options + _part(13, known)


def _part(number: int, content: str | bytes) -> bytes:
    """A field of a message that has a length: text, or another message."""
    data = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _path(kind: Kind) -> str:
    start = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
    inside = "/namespaces/{namespace}" if kind.namespaced else ""
    return f"{start}{inside}/{kind.plural}/{{name}}"


def _operations(kind: Kind) -> dict[str, Any]:
    return {
        "patch": {
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": _names(kind),
            "parameters": [
                {"name": one, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
                for one in _OPTIONS
            ],
            "responses": {"200": {"description": "OK"}},
        }
    }


def _names(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _schema_name(kind: Kind) -> str:
    return ".".join(("io.k8s.api", kind.group or "core", kind.version, kind.kind))
