"""Pods that are plain processes: they have neither the names nor the paths of a pod, so both are replaced for them."""

import re
from collections.abc import Iterable, Mapping

from retort.launch.cluster.node.network.names import Names

_PLACE = re.compile(r"(?:(?<=//)|(?<![\w./-]))([a-z0-9]([-a-z0-9.]*[a-z0-9])?)(:[0-9]+)(?![\w.-])")
"""A host and a port, alone or in a longer text."""
_NUMBER = re.compile(r"[0-9]+$")


def on_machine(text: str, names: Names, paths: Mapping[str, str]) -> str:
    """A text for a plain process: `NAME:PORT` with an address, and the path of a mount as that of its volume."""

    def replaced(found: re.Match[str]) -> str:
        addresses = names.get(found[1])
        return f"{addresses[0]}{found[3]}" if addresses else found[0]

    return _PLACE.sub(replaced, replaced_paths(text, paths))


def awaited(texts: Iterable[str], own: str, names: Names) -> str:
    """A name in these texts that is to have an address and has none yet; empty if there is none.

    It is that of a service, or of a pod that has the name of this one but for its number: such a pod, or its
    service, may not even be there.
    """
    stem = _NUMBER.sub("", own)
    for text in texts:
        for found in _PLACE.finditer(text):
            name = found[1]
            is_sibling = stem != own and _NUMBER.sub("", name) == stem
            if (name in names or is_sibling) and not names.get(name):
                return name
    return ""


def replaced_paths(text: str, paths: Mapping[str, str]) -> str:
    """A text with each of some paths replaced by another, where it begins with it."""
    for at, path in sorted(paths.items(), reverse=True):
        if text == at or text.startswith(f"{at}/"):
            return path + text.removeprefix(at)
    return text
