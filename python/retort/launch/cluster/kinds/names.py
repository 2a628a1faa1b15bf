"""Which names are possible (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/)."""

import re

from retort.launch.cluster.kinds.errors import Cause, invalid_value

DNS_SUBDOMAIN = (
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'{}')",
)
DNS_LABEL = (
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?",
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'{}')",
)
DNS_1035 = (
    r"[a-z]([-a-z0-9]*[a-z0-9])?",
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
    "validation is '{}')",
)


def name_causes(field: str, name: str, rule: tuple[str, str], most: int) -> list[Cause]:
    """What is wrong with a name."""
    pattern, words = rule
    causes = []
    if not re.fullmatch(pattern, name, re.ASCII):
        causes.append(invalid_value(field, name, words.format(pattern)))
    if len(name) > most:
        causes.append(invalid_value(field, name, f"must be no more than {most} characters"))
    return causes
