"""A tiny recipe of each task, with all that portable arithmetic computes in it, in bfloat16."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.tiny.inputs import COMMON
from tests.tiny.runs import tiny_recipe

TRAIN = {"steps": 9, "batch": 12, "shards": 4, "precision": "bfloat16"}
MORE: Mapping[str, Mapping[str, object]] = {
    "train": TRAIN,
    "schedule": {"warmup": 0.2, "decay": "cosine"},
    "checkpoints": {"every": 4},
}


def of_classifier(root: Path) -> Path:
    head = {"pooling": "attention", "layer_norm": True, "dropout": 0.2}
    train = {**TRAIN, "label_smoothing": 0.1, "class_weights": "balanced"}
    model = {"head": head, "freeze": {"embeddings": True}}
    return tiny_recipe(root, {**MORE, "train": train, "model": model})


def of_embeddings(root: Path) -> Path:
    model = {"embeddings": {"temperature": 0.1}}
    return tiny_recipe(root, {**MORE, "model": model, "evaluate": {"min_accuracy": 0.1}})


def of_language_model(root: Path) -> Path:
    lines = [" ".join(COMMON[(n * k) % 10] for k in range(4 + n % 9)) for n in range(200)]
    (root / "lines.txt").write_text("\n".join(f"{line} {n}" for n, line in enumerate(lines)))
    sizes = {"hidden": 32, "layers": 2, "heads": 4, "kv_heads": 2, "context": 16, "dropout": 0.1}
    values = {
        **MORE,
        "data": {
            "source": "text",
            "files": {"paths": [str(root / "lines.txt")]},
            "near_duplicates": {"action": "ignore"},
            "max_tokens": 16,
        },
        "tokenizer": {"train": {"model": "bpe", "vocabulary": 300}},
        "model": {"language_model": {"family": "llama", **sizes}},
        "optimizer": {"lr": 1e-2},
    }
    (root / "language.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return root / "language.yaml"


def of_documents(root: Path) -> Path:
    """A language model whose tokens see their own document alone, without ties."""
    file = of_language_model(root)
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    values["model"]["language_model"] |= {"attention": "document", "tie_embeddings": False}
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


MADE = {"classifier": of_classifier, "embeddings": of_embeddings, "llama": of_language_model}
