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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from tokenizers import Tokenizer

from retort.core.atomic import replacing, sync_path
from retort.core.digest import JSON
from retort.core.errors import StorageError, UserError
from retort.data.batches.readers import BlockBatch, TextBatch
from retort.data.store.store import StorePart, TokenStore
from retort.data.tokenizers.choose import load_tokenizer
from retort.train.run.divergence import Fault

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
    batches: Mapping[int, TextBatch | BlockBatch],
    *,
    store: TokenStore,
    part: str,
    losses: Mapping[int, Sequence[float]] | None = None,
) -> Path:
    """Write what there is to see of a step that stopped a run, whole or not at all.

    Args:
        run: the run directory.
        batches: the micro-batches of the shards at fault, by shard.
        store, part: where they were read from.
        losses: of each text or block of a shard, where they are known.
    Returns:
        The directory of the step.
    Raises:
        StorageError: it cannot be written.
    """
    target = run / STOPPED / f"step-{fault.step.number:08}"
    tokenizer = load_tokenizer(store.tokenizer)
    with replacing(target, _check_ours) as directory:
        for shard, batch in batches.items():
            place = directory / f"shard-{shard}"
            place.mkdir()
            known = (losses or {}).get(shard)
            _write(place / _BATCH, save(_arrays(batch)))
            lines = _lines(batch, store, store.part(part), tokenizer)
            records = [
                record if known is None else {**record, "loss": _number(known[row])}
                for row, record in enumerate(lines)
            ]
            _write(place / _TEXTS, b"".join(_json(record) for record in records))
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


def _arrays(batch: TextBatch | BlockBatch) -> dict[str, np.ndarray]:
    if isinstance(batch, TextBatch):
        return {
            "ids": batch.ids,
            "mask": batch.mask,
            "labels": batch.labels,
            "documents": batch.documents,
        }
    return {"ids": batch.ids, "blocks": batch.blocks, "targets": batch.targets}


def _lines(
    batch: TextBatch | BlockBatch, store: TokenStore, part: StorePart, tokenizer: Tokenizer
) -> Iterator[dict[str, JSON]]:
    if isinstance(batch, TextBatch):
        for row, document in enumerate(batch.documents.tolist()):
            label = int(batch.labels[row])
            tokens = batch.ids[row][batch.mask[row] == 1].tolist()
            yield {
                "document": document,
                "digest": part.digest(document),
                "label": store.labels[label] if label >= 0 else None,
                "text": tokenizer.decode(tokens, skip_special_tokens=True),
            }
        return
    width = batch.ids.shape[1] - 1
    for row, block in enumerate(batch.blocks.tolist()):
        targets = int(batch.targets[row])
        # Its first input is the slot before its first target; of the first block, none of ours.
        first, end = max(block * width - 1, 0), block * width + targets
        yield {
            "block": block,
            "documents": [
                {"document": document, "digest": part.digest(document)}
                for document in _documents(part, first, end)
            ],
            "text": tokenizer.decode(batch.ids[row, : targets + 1].tolist(), False),
        }


def _documents(part: StorePart, first: int, end: int) -> Iterator[int]:
    """Numbers of the documents that lie in the slots `first` to `end` of a part's shards in a row."""
    slots = documents = 0
    for shard in part.shards:
        after = slots + len(shard.slots)
        if first < after and end > slots:
            low = np.searchsorted(shard.offsets, max(first - slots, 0), side="right") - 1
            high = np.searchsorted(shard.offsets, min(end, after) - slots, side="left")
            yield from range(documents + int(low), documents + int(high))
        slots, documents = after, documents + len(shard.labels)


def _check_ours(existing: Path) -> None:
    if not (existing / _REASON).is_file():
        raise StorageError(f"{existing}: holds something else than a stopped step; remove it")


def _number(value: float) -> JSON:
    """A number as JSON can say it: what is not finite becomes a word."""
    return value if math.isfinite(value) else str(value)


def _json(value: dict[str, JSON]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    sync_path(path)
