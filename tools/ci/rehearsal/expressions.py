"""Evaluates GitHub's workflow expressions, as far as workflows here use them. What is not known is refused by name."""

import hashlib
import json
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

Value = Any  # what JSON has: null, booleans, numbers, texts, lists and maps

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<mark>&&|\|\||==|!=|[!().,*\[\]])"
    r"|(?P<name>[A-Za-z_][\w-]*))"
)


class RefusedError(Exception):
    """An expression, or a part of a workflow, that is not known here."""


def is_true(value: Value) -> bool:
    """As GitHub sees it: null, false, 0 and the empty text are not."""
    return value not in (None, False, 0, "")


def to_text(value: Value) -> str:
    """As it stands in a script."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def _number(value: Value) -> float:
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return float("nan")


def _equal(left: Value, right: Value) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left.casefold() == right.casefold()
    if type(left) is type(right):
        return bool(left == right)
    return _number(left) == _number(right)


class Evaluator:
    """Knows the contexts, the result of the steps before, and where files are.

    Args:
        contexts: `github`, `env`, `matrix` and so on; a property that none has is null, as on GitHub.
        workspace: where `hashFiles` looks.
        failed: whether something before has failed, for `success()` and `failure()`.
    """

    def __init__(
        self, contexts: Mapping[str, Value], workspace: pathlib.Path, failed: bool = False
    ) -> None:
        self._contexts = contexts
        self._functions: dict[str, Callable[..., Value]] = {
            "always": lambda: True,
            "cancelled": lambda: False,
            "success": lambda: not failed,
            "failure": lambda: failed,
            "contains": lambda where, what: (
                what in where
                if isinstance(where, list)
                else to_text(what).casefold() in to_text(where).casefold()
            ),
            "startswith": lambda text, start: to_text(text)
            .casefold()
            .startswith(to_text(start).casefold()),
            "format": lambda text, *words: re.sub(
                r"\{(\d+)\}", lambda match: to_text(words[int(match[1])]), text
            ),
            "join": lambda words, between=",": between.join(map(to_text, words or [])),
            "hashfiles": lambda *patterns: hash_files(workspace, patterns),
        }

    def evaluate(self, expression: str) -> Value:
        """The value of what stands between `${{` and `}}`.

        Raises:
            RefusedError: it has a context, a function or a form that is not known.
        """
        tokens, at = [], 0
        text = expression.strip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise RefusedError(f"the expression {text!r} has {text[at:]!r}, which is not known")
            tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
            at = match.end()
        parser = _Parser(tokens, text, self._contexts, self._functions)
        return parser.whole()

    def fill(self, text: Value) -> str:
        """A text with every `${{ … }}` in it replaced."""
        return re.sub(
            r"\$\{\{(.*?)\}\}",
            lambda match: to_text(self.evaluate(match[1])),
            to_text(text),
            flags=re.DOTALL,
        )

    def condition(self, text: Value) -> bool:
        """An `if`: with no function of status in it, what comes before must have succeeded, too."""
        plain = re.sub(r"^\s*\$\{\{(.*)\}\}\s*$", r"\1", to_text(text), flags=re.DOTALL).strip()
        value = is_true(self.evaluate(plain)) if plain else True
        if re.search(r"\b(always|cancelled|failure|success)\s*\(", plain):
            return value
        return value and is_true(self.evaluate("success()"))


class _Parser:
    """Or, and, equality, not, and what they join: each a method, the loosest first."""

    def __init__(
        self,
        tokens: list[tuple[str, str]],
        text: str,
        contexts: Mapping[str, Value],
        functions: Mapping[str, Callable[..., Value]],
    ) -> None:
        self._tokens, self._text, self._at = tokens, text, 0
        self._contexts, self._functions = contexts, functions

    def whole(self) -> Value:
        value = self._or()
        if self._at != len(self._tokens):
            raise self._refused()
        return value

    def _refused(self) -> RefusedError:
        found = self._tokens[self._at][1] if self._at < len(self._tokens) else "its end"
        return RefusedError(f"the expression {self._text!r} is not known at {found!r}")

    def _take(self, *marks: str) -> str | None:
        if self._at < len(self._tokens) and self._tokens[self._at] in [("mark", m) for m in marks]:
            self._at += 1
            return self._tokens[self._at - 1][1]
        return None

    def _need(self, mark: str) -> None:
        if self._take(mark) is None:
            raise self._refused()

    def _or(self) -> Value:
        value = self._and()
        while self._take("||"):
            other = self._and()
            value = value if is_true(value) else other
        return value

    def _and(self) -> Value:
        value = self._equality()
        while self._take("&&"):
            other = self._equality()
            value = other if is_true(value) else value
        return value

    def _equality(self) -> Value:
        value = self._unary()
        while mark := self._take("==", "!="):
            value = _equal(value, self._unary()) == (mark == "==")
        return value

    def _unary(self) -> Value:
        if self._take("!"):
            return not is_true(self._unary())
        if self._take("("):
            value = self._or()
            self._need(")")
            return value
        if self._at == len(self._tokens):
            raise self._refused()
        kind, word = self._tokens[self._at]
        if kind == "mark":
            raise self._refused()
        self._at += 1
        if kind == "text":
            return word[1:-1].replace("''", "'")
        if kind == "number":
            return json.loads(word)
        if word in ("true", "false", "null"):
            return json.loads(word)
        return self._call(word) if self._take("(") else self._property(word)

    def _call(self, name: str) -> Value:
        words = []
        while not self._take(")"):
            words.append(self._or())
            if not self._take(","):
                self._need(")")
                break
        if name.lower() not in self._functions:
            raise RefusedError(f"the function {name} in {self._text!r} is not known")
        return self._functions[name.lower()](*words)

    def _property(self, name: str) -> Value:
        if name not in self._contexts:
            raise RefusedError(f"the context {name} in {self._text!r} is not known")
        value = self._contexts[name]
        while self._take("."):
            if self._take("*"):
                value = list(value.values()) if isinstance(value, Mapping) else value
                continue
            if self._at == len(self._tokens) or self._tokens[self._at][0] != "name":
                raise self._refused()
            key = self._tokens[self._at][1]
            self._at += 1
            if isinstance(value, list):
                value = [one.get(key) for one in value if isinstance(one, Mapping)]
            else:
                value = value.get(key) if isinstance(value, Mapping) else None
        return value


def hash_files(workspace: pathlib.Path, patterns: tuple[str, ...]) -> str:
    """One digest of all files that the patterns match; empty if there is none."""
    paths = {path for pattern in patterns for path in workspace.glob(pattern) if path.is_file()}
    whole = hashlib.sha256()
    for path in sorted(paths):
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest() if paths else ""
