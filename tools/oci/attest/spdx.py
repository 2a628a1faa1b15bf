"""SPDX licence expressions (SPDX specification 3.0, annex B), told from the free text that packages write.

Identifiers are those of the SPDX licence list, exceptions included, as CycloneDX publishes them in its schema.
"""

import re

from cyclonedx.spdx import fixup_id
from license_expression import (  # type: ignore[import-untyped]
    ExpressionError,
    LicenseSymbol,
    LicenseWithExceptionSymbol,
    Licensing,
)

_REFERENCE = re.compile(r"(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")
_LONGEST = 200
"""Words and parentheses of an expression; more is text, and so deep a nest would exhaust the stack."""
_LICENSING = Licensing()


def identifier(text: str) -> str | None:
    """The licence list's spelling of an identifier, which is the same in any case; None if it is not listed."""
    return fixup_id(text.strip())


def expression(text: str) -> str | None:
    """The canonical spelling of a licence expression: operators in capitals, identifiers as the list has them.

    Returns:
        None when `text` is not an expression, or names a licence that is not listed.
    """
    if len(re.findall(r"[^\s()]+|[()]", text)) > _LONGEST:
        return None
    try:
        parsed = _LICENSING.parse(text)
    except (ExpressionError, IndexError):  # the latter of `()`
        return None
    if parsed is None:
        return None
    for symbol in _LICENSING.license_symbols(parsed, unique=False, decompose=False):
        if not _spelled_as_listed(symbol):
            return None
    return str(parsed.render("{symbol.key}"))


def _spelled_as_listed(symbol: LicenseSymbol | LicenseWithExceptionSymbol) -> bool:
    """Gives a symbol the list's spelling; False if it is not listed."""
    if isinstance(symbol, LicenseWithExceptionSymbol):
        exception = identifier(symbol.exception_symbol.key)
        symbol.exception_symbol.key = exception
        return exception is not None and _spelled_as_listed(symbol.license_symbol)
    symbol.key = _licence(symbol.key)
    return symbol.key is not None


def _licence(word: str) -> str | None:
    if _REFERENCE.fullmatch(word):
        return word
    listed = identifier(word)  # first: some identifiers of the list end in a plus themselves
    if listed is None and word.endswith("+"):
        base = identifier(word[:-1])
        return f"{base}+" if base else None
    return listed
