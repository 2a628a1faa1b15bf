"""A classifier that trains in a second: weights, tokenizer and documents, all real and tiny."""

import json
from pathlib import Path

import safetensors.torch
import torch
import yaml
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig

from retort.models.packed.tree import WeightTree

TOPICS = {
    "sport": ("match", "goal", "team", "coach", "league", "striker"),
    "tech": ("chip", "software", "phone", "browser", "server", "laptop"),
}
COMMON = ("the", "new", "said", "on", "monday", "a", "with", "of", "and", "for")


def write_documents(root: Path, count: int = 30, first: int = 0) -> Path:
    """Write documents `first` .. `first + count - 1` of each topic as `<label>/<number>.txt`."""
    for label, words in TOPICS.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            chosen = [words[number % 6], COMMON[number % 10], words[number // 6 % 6]]
            filler = [COMMON[(number * step) % 10] for step in range(1, 2 + number % 7)]
            text = " ".join([*filler, *chosen, str(number)])
            (root / label / f"{number:03}.txt").write_text(text, encoding="utf-8")
    return root


def write_weights(root: Path) -> Path:
    """Write a random BERT of 2 layers with its tokenizer, as pretrained weights are published."""
    root.mkdir(parents=True)
    words = [word for topic in TOPICS.values() for word in topic]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *COMMON, *"0123456789"]
    vocabulary += [f"##{digit}" for digit in range(10)]
    numbers = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.save(str(root / "tokenizer.json"))
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    # As BertModel(config) would hold and begin with, which takes seconds to import.
    generator, tree = torch.Generator().manual_seed(7), WeightTree(config)
    shapes = {name: weight.shape for name, weight in tree.named_parameters()}
    shapes |= {"pooler.dense.weight": torch.Size([32, 32]), "pooler.dense.bias": torch.Size([32])}
    state = {
        name: (
            torch.normal(0.0, 0.02, shape, generator=generator)
            if len(shape) > 1
            else torch.full(shape, float(name.endswith("LayerNorm.weight")))
        )
        for name, shape in shapes.items()
    }
    (root / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    (root / "model.safetensors").write_bytes(safetensors.torch.save(state))
    return root


def write_recipe(file: Path, documents: Path, weights: Path) -> Path:
    """Write a recipe that trains the tiny classifier on the tiny documents."""
    recipe = {
        "data": {
            "source": "directory",
            "directory": str(documents),
            "held_out": 0.2,
            "max_tokens": 16,
        },
        "model": {"weights": {"directory": str(weights)}},
        "optimizer": {"lr": 1e-2},
        "train": {"steps": 12, "batch": 4, "threads": 1},
    }
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return file
