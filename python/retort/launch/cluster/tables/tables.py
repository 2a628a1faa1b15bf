"""Objects as the rows that `kubectl get` prints
(https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables)."""

from collections.abc import Iterable

from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.tables.kind_columns import columns_of

_INCLUDED = ("Metadata", "Object", "None")


def table(
    kind: Kind, items: Iterable[JSONObject], metadata: JSONObject, included: str
) -> JSONObject:
    """A Table of objects.

    Args:
        metadata: of the list, or of the object.
        included: what of each object goes with its row: Metadata, Object, None.
    """
    columns = columns_of(kind)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [
            {
                "name": one.name,
                "type": one.type,
                "format": "name" if one.name == "Name" else "",
                "description": one.description,
                "priority": one.priority,
            }
            for one in columns
        ],
        "rows": [
            {
                "cells": [one.cell(item) for one in columns],
                **_included(item, included),
            }
            for item in items
        ],
    }


def only_metadata(item: JSONObject) -> JSONObject:
    """An object of which nothing is said but its metadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": item["metadata"],
    }


def _included(item: JSONObject, included: str) -> JSONObject:
    if included == "None":
        return {}
    return {"object": item if included == "Object" else only_metadata(item)}
