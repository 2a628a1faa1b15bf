"""The environment and the command of a container
(https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/).
"""

import re
from collections.abc import Mapping, Sequence

from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.node.pods.sources import CONFIG_MAP, SECRET, Sources

_REFERENCE = re.compile(r"\$(\$|\(([^()\s]*)\))")


def environment(
    container: JSONObject, sources: Sources, image: Mapping[str, str]
) -> dict[str, str]:
    """All variables of a container: the image's, then `envFrom`, then `env`; the last of a name wins.

    Args:
        image: the variables that the image sets.
    Raises:
        NotThere: an object or a key that a variable comes from is not there.
    """
    found: dict[str, str] = {}
    for one in container.get("envFrom") or ():
        prefix = one.get("prefix") or ""
        for kind, word in ((CONFIG_MAP, "configMapRef"), (SECRET, "secretRef")):
            if reference := one.get(word):
                optional = bool(reference.get("optional"))
                content = sources.content(kind, reference["name"], optional=optional)
                found |= {prefix + key: value.decode() for key, value in sorted(content.items())}
    for variable in container.get("env") or ():
        value = _value(variable, container["name"], sources, found)
        if value is not None:
            found[variable["name"]] = value
    return {**image, **found}


def command(
    container: JSONObject,
    variables: Mapping[str, str],
    entrypoint: Sequence[str],
    arguments: Sequence[str],
) -> list[str]:
    """What a container runs: `command` in place of the image's entry point, `args` in place of its arguments.

    An own command does away with the arguments of the image.
    """
    if container.get("command"):
        entrypoint, arguments = container["command"], ()
    if container.get("args"):
        arguments = container["args"]
    return [expanded(word, variables) for word in (*entrypoint, *arguments)]


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """A text with `$(NAME)` replaced where there is such a variable; `$$` stands for a dollar sign."""

    def replaced(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        return variables.get(found[2], found[0])

    return _REFERENCE.sub(replaced, text)


def _value(
    variable: JSONObject, container: str, sources: Sources, before: Mapping[str, str]
) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return expanded(str(variable.get("value") or ""), before)
    if reference := source.get("configMapKeyRef"):
        return sources.value(CONFIG_MAP, reference)
    if reference := source.get("secretKeyRef"):
        return sources.value(SECRET, reference)
    if reference := source.get("fieldRef"):
        return sources.field(reference["fieldPath"])
    return sources.resource(source["resourceFieldRef"], container)
