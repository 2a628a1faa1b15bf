"""Names, quantities and times as Kubernetes writes them, held to when a job is read."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from retort.core.errors import shown

_FACTORS = {
    **{unit: Decimal(1000) ** -power for power, unit in enumerate("mun", 1)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}
_QUANTITY = r"[0-9]{1,18}(\.[0-9]{1,9})?([numkMGTPE]|[KMGTPE]i|[eE][0-9]{1,2})?"
_SECONDS = {"h": 3600, "m": 60, "s": 1}
_DURATION = r"([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SERVICE = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_NAMESPACED = 253
"""Characters of a name that is a DNS subdomain, as those of claims, secrets and ConfigMaps are."""
JOB_NAME = 52
"""Characters of a job's name. A DNS label has 63, and the last pod may be called NAME-worker-999."""


def quantity(text: str) -> Decimal:
    """The number that a quantity such as `500m` or `16Gi` stands for: cores, bytes or devices.

    See https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(_QUANTITY, text, re.ASCII):
        raise ValueError(f"{shown(text)!r} is not a quantity, such as 500m, 4 or 16Gi")
    if text[-1].isdigit():
        return Decimal(text)
    number = text.rstrip("numkKMGTPEi")
    return Decimal(number) * _FACTORS[text.removeprefix(number)]


def seconds(text: str) -> int:
    """The seconds of a time such as `90s`, `10m` or `1h30m`.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(_DURATION, text, re.ASCII)
    if not text or found is None:
        raise ValueError(f"{shown(text)!r} is not a time, such as 90s, 10m or 1h30m")
    return sum(int(part[:-1]) * _SECONDS[part[-1]] for part in found.groups() if part)


def check_job_name(text: str) -> str:
    """A name that a job may have: a DNS-1035 label, with room for what operators append.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(_SERVICE, text, re.ASCII):
        raise ValueError(
            f"{shown(text)!r} is not a name of a job: small letters, digits and -, first a letter, last "
            "a letter or digit"
        )
    if len(text) > JOB_NAME:
        raise ValueError(
            f"{text!r} has {len(text)} characters; give {JOB_NAME} at most, as pods are called after it"
        )
    return text


def _check_name(text: str) -> str:
    if not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", text, re.ASCII) or len(text) > _NAMESPACED:
        raise ValueError(
            f"{shown(text)!r} is not a name of an object: small letters, digits, - and ., {_NAMESPACED} "
            "at most"
        )
    return text


def _check_variable(text: str) -> str:
    if not re.fullmatch(_VARIABLE, text, re.ASCII):
        raise ValueError(f"{shown(text)!r} is not a name of an environment variable")
    return text


def _check_quantity(text: str) -> str:
    if quantity(text) <= 0:
        raise ValueError(f"{text!r} is nothing; give more")
    return text


def _check_time(text: str) -> str:
    if seconds(text) == 0:
        raise ValueError(f"{text!r} is no time; give 1s or more")
    return text


def _written(value: Any) -> Any:
    """`cpu: 4` is a number to YAML, and a quantity to Kubernetes."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


JobName = Annotated[
    str,
    AfterValidator(check_job_name),
    Field(json_schema_extra={"pattern": f"^{_SERVICE}$", "maxLength": JOB_NAME}),
]
ObjectName = Annotated[
    str,
    AfterValidator(_check_name),
    Field(json_schema_extra={"pattern": rf"^{_LABEL}(\.{_LABEL})*$", "maxLength": _NAMESPACED}),
]
Variable = Annotated[str, AfterValidator(_check_variable)]
Quantity = Annotated[
    str,
    BeforeValidator(_written),
    AfterValidator(_check_quantity),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": f"^{_QUANTITY}$"},
            ]
        }
    ),
]
Duration = Annotated[
    str,
    AfterValidator(_check_time),
    Field(json_schema_extra={"pattern": f"^{_DURATION}$", "minLength": 2}),
]
