"""SPDX licence expressions (SPDX specification 2.3, annex D), told from the free text that packages write.

`spdx_identifiers.txt` beside this file holds the identifiers of the SPDX licence list, exceptions included, as
CycloneDX 1.6 publishes them in its schema; a test compares the two.
"""

import functools
import pathlib
import re

_TOKEN = re.compile(r"\s*(\(|\)|[A-Za-z0-9.\-:]+\+?)")
_REFERENCE = re.compile(r"(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")
_LONGEST = 200
"""Words of an expression; more is text, and parentheses that deep would exhaust the stack."""


@functools.cache
def _identifiers() -> dict[str, str]:
    text = pathlib.Path(__file__).with_name("spdx_identifiers.txt").read_text(encoding="ascii")
    return {name.lower(): name for name in text.split()}


def identifier(text: str) -> str | None:
    """The licence list's spelling of an identifier, which is the same in any case; None if it is not listed."""
    return _identifiers().get(text.strip().lower())


def expression(text: str) -> str | None:
    """The canonical spelling of a licence expression: one space between words, identifiers as the list has them.

    Returns:
        None when `text` is not an expression, or names a licence that is not listed.
    """
    words: list[str] = []
    try:
        rest = _compound(_tokens(text), words)
    except _NotAnExpression:
        return None
    return None if rest else " ".join(words).replace("( ", "(").replace(" )", ")")


class _NotAnExpression(Exception):
    """The grammar does not hold."""


def _tokens(text: str) -> list[str]:
    found, position, text = [], 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _NotAnExpression
        found.append(match[1])
        position = match.end()
    if len(found) > _LONGEST:
        raise _NotAnExpression
    return found


def _compound(tokens: list[str], words: list[str]) -> list[str]:
    """Reads `simple ((AND | OR) simple)*` into `words`; returns the tokens behind it."""
    rest = _simple(tokens, words)
    while rest and rest[0] in ("AND", "OR"):
        words.append(rest[0])
        rest = _simple(rest[1:], words)
    return rest


def _simple(tokens: list[str], words: list[str]) -> list[str]:
    """Reads one licence, with its exception if it has one, or an expression in parentheses."""
    if not tokens:
        raise _NotAnExpression
    if tokens[0] == "(":
        words.append("(")
        rest = _compound(tokens[1:], words)
        if not rest or rest[0] != ")":
            raise _NotAnExpression
        words.append(")")
        return rest[1:]
    words.append(_listed(_licence(tokens[0])))
    rest = tokens[1:]
    if rest and rest[0] == "WITH":
        words += ["WITH", _listed(identifier("".join(rest[1:2])))]
        return rest[2:]
    return rest


def _listed(name: str | None) -> str:
    if name is None:
        raise _NotAnExpression
    return name


def _licence(token: str) -> str | None:
    if _REFERENCE.fullmatch(token):
        return token
    listed = identifier(token)  # first: some identifiers of the list end in a plus themselves
    if listed is None and token.endswith("+"):
        base = identifier(token[:-1])
        return f"{base}+" if base else None
    return listed
