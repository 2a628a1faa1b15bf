"""Which objects of a controller a change concerns."""

from collections.abc import Callable, Iterable, Iterator

from retort.launch.cluster.controllers.frame.items import ObjectKey, controller_of, key_of
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.selectors import Selection


def itself(item: JSONObject) -> Iterable[ObjectKey]:
    """The object that has changed."""
    return (key_of(item),)


def its_controller(kind: Kind) -> Callable[[JSONObject], Iterator[ObjectKey]]:
    """The object of a kind that controls what has changed."""

    def mapped(item: JSONObject) -> Iterator[ObjectKey]:
        reference = controller_of(item)
        if reference and (reference["apiVersion"], reference["kind"]) == (
            kind.api_version,
            kind.kind,
        ):
            yield ObjectKey(item["metadata"].get("namespace", ""), reference["name"])

    return mapped


def controlled(registry: Registry, kind: Kind, owner: JSONObject) -> list[JSONObject]:
    """The objects of a kind that an object controls."""
    uid = owner["metadata"]["uid"]
    return [
        item
        for item in registry.list(kind, Selection(owner["metadata"]["namespace"])).items
        if (controller_of(item) or {}).get("uid") == uid
    ]
