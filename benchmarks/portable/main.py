"""How fast a training step is in portable arithmetic, beside the same step in PyTorch's.

Both engines are in one process and take turns, and the ratio of each pair counts, so that a machine that others slow
down slows both. One rank; what it computes is what a run of the recipe computes.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.markdown import Section, Target, table
from benchmarks.page import Page, arguments
from retort.core.config import find_recipe, load_recipe
from retort.core.machine import keep_freed_memory, look_past_what_is_there
from retort.models.determinism import fix_arithmetic
from retort.train.engines.engine import Engine
from retort.train.engines.open import open_engine
from retort.train.processes.world import World
from retort.train.recipe import TrainingRecipe, recipes, with_arithmetic
from retort.train.tasks.open import open_task
from retort.train.timing.phases import PhaseClock

_WORKS = (
    ("smoke", "float32", 1),
    ("smoke", "float32", 2),
    ("smoke", "bfloat16", 2),
    ("bbc_minilm", "float32", 1),
    ("bbc_llama", "float32", 1),
    ("bbc_llama", "bfloat16", 1),
)
"""Recipe, precision and threads."""
_LR = 1e-5
_AS_FAST = 1.0


@dataclass
class _Side:
    """One engine, and how it is stepped."""

    engine: Engine
    threads: int
    portable: bool
    step: int = 0

    def seconds(self) -> float:
        """Of the next step."""
        fix_arithmetic(self.threads, portable=self.portable)
        begun = time.perf_counter()
        self.engine.step(self.step, _LR)
        self.step += 1
        return time.perf_counter() - begun


def _sides(recipe: TrainingRecipe, folder: Path) -> tuple[_Side, _Side]:
    world, sides = World(0, 1, 0, torch.device("cpu")), []
    for name in ("portable", "native"):
        one = with_arithmetic(recipe, name)
        fix_arithmetic(one.train.threads, portable=name == "portable")
        task = open_task(one, folder, world.device, world.alone)
        engine, _ = open_engine(one, task, world, PhaseClock())
        engine.model.train()
        sides.append(_Side(engine, one.train.threads, name == "portable"))
    return sides[0], sides[1]


def measure(steps: int, works: Sequence[tuple[str, str, int]] = _WORKS) -> Section:
    """Every kind of work, `steps` of each side after one that is not counted."""
    rows, ratios, here = [], [], Path.cwd()
    for name, precision, threads in works:
        settings = [f"train.precision={precision}", f"train.threads={threads}"]
        recipe = load_recipe(TrainingRecipe, find_recipe(recipes(), name, here), settings, here)
        with tempfile.TemporaryDirectory(prefix="retort-benchmark-") as folder:
            portable, native = _sides(recipe.config, Path(folder))
            for side in (portable, native):
                side.seconds()
            look_past_what_is_there()
            taken = [(portable.seconds(), native.seconds()) for _ in range(steps)]
        ours, theirs = (statistics.median(side) for side in zip(*taken, strict=True))
        ratio = statistics.median(two / one for one, two in taken)
        ratios.append(ratio)
        figures = (f"{ours:.3f}", f"{theirs:.3f}", f"{ratio:.2f}")
        rows.append((name, precision, str(threads), *figures))
        print(*rows[-1], file=sys.stderr, flush=True)
    target = Target(
        "portable training beside native, at least",
        f"{min(ratios):.2f}",
        f"at least {_AS_FAST:.1f}",
        min(ratios) >= _AS_FAST,
    )
    heads = ("recipe", "precision", "threads", "portable, s", "native, s", "ratio")
    words = f"## Steps\n\nOne rank, {steps} steps of each, medians; the ratio is that of pairs."
    return Section((target,), f"{words}\n\n{table(heads, rows, 'llrrrr')}")


def main(typed: Sequence[str]) -> int:
    """Measure, write and print; 1 if a target was missed."""
    parser = arguments("portable", __doc__ or "", ("steps",))
    parser.add_argument("--steps", type=int, default=11)
    options = parser.parse_args(typed)
    keep_freed_memory()
    page = Page("portable", options.out)
    sections = [measure(options.steps)]
    title = "Portable arithmetic in training"
    return 1 if page.write(title, sections, ("torch", "ziglang"), typed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
