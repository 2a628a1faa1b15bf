"""What was measured of images, as Markdown."""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.images.sides import Image, moved
from benchmarks.markdown import Section, Target, table

OURS = "rules"
THEIRS = "buildah"
_CHANGE_SECONDS = 2.0
_CHANGE_RATIO = 10.0
_PUSH_BYTES = 5_000_000

Times = Mapping[str, Sequence[float]]
"""Seconds of each round by side."""


def ratio(times: Times) -> float:
    """How many times as long the other side takes, by the medians."""
    return statistics.median(times[THEIRS]) / statistics.median(times[OURS])


def change(times: Times) -> Section:
    """From a line of our code that changed to a new image."""
    ours = statistics.median(times[OURS])
    return Section(
        (
            Target(
                "a line of our code to a new image, rules",
                f"{ours:.2f} s",
                f"under {_CHANGE_SECONDS:.0f} s",
                ours < _CHANGE_SECONDS,
            ),
            Target(
                "the same beside buildah with its layers cached",
                f"{ratio(times):.1f} times as fast",
                f"at least {_CHANGE_RATIO:.0f} times",
                ratio(times) >= _CHANGE_RATIO,
            ),
        ),
        "## A line of our code changes\n\n"
        "Both sides build the same change, in turns, until there is a new image. buildah reads every file that "
        "`COPY --from` copies to find its layer in the cache.\n\n" + _rounds(times),
    )


def cold(times: Times) -> Section:
    """The whole image where wheels are at hand and no layer is."""
    return Section(
        (
            Target(
                "the image with no layer built, beside buildah",
                f"{ratio(times):.2f} times as fast",
                "not slower",
                ratio(times) >= 1,
            ),
        ),
        "## No layer is built\n\n"
        "Wheels are at hand: unpacked in the rules' store, in pip's cache and local indexes for buildah.\n\n"
        + _rounds(times),
    )


def layers(images: Mapping[str, Image]) -> Section:
    """Size and time of every layer."""
    text = [
        "## Layers",
        (
            "As each side moves them by default: the rules not compressed, buildah by gzip. Seconds are those of the "
            "action that wrote the layer."
        ),
    ]
    for side, image in images.items():
        rows = [
            (
                layer.name,
                f"`{layer.digest.removeprefix('sha256:')[:12]}`",
                f"{layer.size / 1e6:.2f}",
                "" if layer.seconds is None else f"{layer.seconds:.2f}",
            )
            for layer in image.layers
        ]
        rows.append(("all", "", f"{image.size / 1e6:.2f}", ""))
        text += [f"### {side}", table(("layer", "digest", "MB", "seconds"), rows, "llrr")]
    return Section((), "\n\n".join(text))


def push(pairs: Mapping[str, tuple[Image, Image]]) -> Section:
    """What a registry lacks after a line changed.

    Args:
        pairs: by side, the image before and after the change.
    """
    rows = [
        (
            side,
            f"{moved(before, after) / 1e6:.3f}",
            str(
                len(
                    {layer.digest for layer in after.layers}
                    - {layer.digest for layer in before.layers}
                )
            ),
        )
        for side, (before, after) in pairs.items()
    ]
    ours = moved(*pairs[OURS])
    return Section(
        (
            Target(
                "a push after a line of our code changed",
                f"{ours / 1e6:.3f} MB",
                f"under {_PUSH_BYTES / 1e6:.0f} MB",
                ours < _PUSH_BYTES,
            ),
        ),
        "## Push of a line that changed\n\nWhat a registry that has the image before does not have.\n\n"
        + table(("side", "MB", "layers"), rows, "lrr"),
    )


def _rounds(times: Times) -> str:
    rows = [
        (
            side,
            f"{statistics.median(values):.2f}",
            f"{min(values):.2f}",
            f"{max(values):.2f}",
            str(len(values)),
        )
        for side, values in times.items()
    ]
    return table(("side", "median s", "least s", "most s", "rounds"), rows, "lrrrr")
