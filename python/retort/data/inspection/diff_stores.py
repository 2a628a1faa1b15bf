"""Say in what two token stores differ.

python -m retort.data.inspection.diff_stores A B
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from retort.core.cli import Arguments, Invocation, run
from retort.data.store.store import StorePart, TokenStore


def main(arguments: Sequence[str]) -> int:
    """Returns 0 if the seals are equal, 1 if not; a line for each difference."""
    parser = Arguments(prog="diff", description="Say in what two token stores differ.")
    parser.add_argument("one", metavar="A", help="a token store")
    parser.add_argument("other", metavar="B", help="another one")
    options = parser.parse_args(arguments)
    resolve = Invocation.from_environment().resolve
    one, other = (TokenStore.open(resolve(path)) for path in (options.one, options.other))
    if one.sealed.seal == other.sealed.seal:
        print(f"equal: {one.sealed.seal}")
        return 0
    for line in differences(one, other):
        print(line)
    return 1


def differences(one: TokenStore, other: TokenStore) -> Iterator[str]:
    """A line for each difference of two stores whose seals are not equal."""
    yield f"A {one.sealed.seal} {one.sealed.path}"
    yield f"B {other.sealed.seal} {other.sealed.path}"
    left, right = one.sealed.manifest, other.sealed.manifest
    yield from _mapping("input", left.inputs, right.inputs)
    yield from _mapping("config", _flat(left.config), _flat(right.config))
    if one.labels != other.labels:
        yield f"labels: {', '.join(one.labels)}; {', '.join(other.labels)}"
    for name in sorted(one.parts.keys() | other.parts.keys()):
        yield from _part(name, one.parts.get(name), other.parts.get(name))


def _part(name: str, one: StorePart | None, other: StorePart | None) -> Iterator[str]:
    left, right = _documents(one), _documents(other)
    shards = [{shard.input for shard in part.shards} if part else set() for part in (one, other)]
    if left != right:
        gone, new = len(left.keys() - right.keys()), len(right.keys() - left.keys())
        relabelled = sum(left[digest] != right[digest] for digest in left.keys() & right.keys())
        yield (
            f"{name}: {len(left):,} and {len(right):,} documents; {gone:,} in A alone, "
            f"{new:,} in B alone, {relabelled:,} with another label"
        )
    if shards[0] != shards[1]:
        yield (
            f"{name}: {len(shards[0])} and {len(shards[1])} shards, "
            f"{len(shards[0] & shards[1])} of them shared"
        )


def _documents(part: StorePart | None) -> dict[str, int]:
    """The label number of each document, by its digest."""
    if part is None:
        return {}
    return {part.digest(number): int(part.labels[number]) for number in range(len(part))}


def _mapping(kind: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(one.keys() | other.keys()):
        left, right = one.get(key), other.get(key)
        if left != right:
            yield f"{kind} {key}: {json.dumps(left)}; {json.dumps(right)}"


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= _flat(item, f"{prefix}{key}.")
        else:
            flat[prefix + key] = item
    return flat


if __name__ == "__main__":
    run(main)
