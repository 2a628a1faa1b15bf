"""What a stopped run leaves for whoever looks into it, and why it is not simply resumed.

    stopped/step-00000017/
        reason.json             the step, its losses, what was wrong, what to change
        shard-2/
            batch.safetensors   the arrays of the micro-batch, as its reader gave them
            texts.jsonl         a line for each text or block of it, decoded

A run is a function of its recipe, so a resume would stop at the same step. Whoever knows better (a
faulty machine, a higher divergence.spike) removes `stopped/`, and the run goes on from its checkpoint.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from safetensors.numpy import save

from retort.core.atomic import replacing, sync_path
from retort.core.digest import JSON
from retort.core.errors import StorageError, UserError
from retort.train.run.divergence import Fault
from retort.train.tasks.inspection import Inspection

STOPPED = "stopped"
_REASON = "reason.json"
_BATCH = "batch.safetensors"
_TEXTS = "texts.jsonl"


def refuse_stopped(run: Path) -> None:
    """Refuse to resume a run that was stopped: it would come to the same step again.

    Raises:
        UserError: says why it was stopped, and the two ways on.
    """
    for file in sorted((run / STOPPED).glob(f"step-*/{_REASON}")):
        reason = json.loads(file.read_text(encoding="utf-8"))
        raise UserError(
            f"{run}: was stopped at step {reason['step']}: {reason['reason']}, and a resume would "
            f"stop there again; {reason['advice']}, as a new run with another --out, or look at "
            f"{file.parent} and remove {run / STOPPED} to go on from the last checkpoint all the same"
        )


def write_inspection(
    run: Path,
    fault: Fault,
    shards: Mapping[int, Inspection],
) -> Path:
    """Write what there is to see of a step that stopped a run, whole or not at all.

    Args:
        run: the run directory.
        shards: what is seen of the micro-batches of the shards at fault.
    Returns:
        The directory of the step.
    Raises:
        StorageError: it cannot be written.
    """
    target = run / STOPPED / f"step-{fault.step.number:08}"
    with replacing(target, _check_ours) as directory:
        for shard, inspection in shards.items():
            place = directory / f"shard-{shard}"
            place.mkdir()
            _write(place / _BATCH, save(dict(inspection.arrays)))
            _write(place / _TEXTS, b"".join(_json(record) for record in inspection.records))
        _write(directory / _REASON, _json(_reason(fault)))
    return target


def _reason(fault: Fault) -> dict[str, JSON]:
    step = fault.step
    return {
        "step": step.number,
        "reason": fault.reason,
        "advice": fault.advice,
        "shards": fault.shards,
        "loss": _number(step.loss),
        "losses": [_number(loss) for loss in step.losses],
        "lr": step.lr,
        "gradient_norm": _number(step.gradient_norm),
    }


def _check_ours(existing: Path) -> None:
    if not (existing / _REASON).is_file():
        raise StorageError(f"{existing}: holds something else than a stopped step; remove it")


def _number(value: float) -> JSON:
    """A number as JSON can say it: what is not finite becomes a word."""
    return value if math.isfinite(value) else str(value)


def _json(value: Mapping[str, JSON]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    sync_path(path)
