"""Writes on where a text ends, with the language model of a sealed checkpoint."""

from collections.abc import Sequence

import torch
from rich.console import Console
from tokenizers import Tokenizer

from retort.core.cli import Arguments, Invocation, positive, run
from retort.models.checkpoint import LanguageCheckpoint, load_language_model


def continued(checkpoint: LanguageCheckpoint, text: str, tokens: int) -> str:
    """The text and its likeliest continuation.

    Args:
        tokens: so many are added; the model sees the last ones that its context holds.
    """
    torch.set_num_threads(checkpoint.threads)
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer.decode())
    ids: list[int] = tokenizer.encode(text).ids
    with torch.inference_mode():
        for _ in range(tokens):
            scores = checkpoint.model(torch.tensor([ids[-checkpoint.context :]]))
            ids.append(int(scores[0, -1].argmax()))
    return str(tokenizer.decode(ids))


def main(arguments: Sequence[str]) -> int:
    """Returns 0."""
    parser = Arguments(prog="continue_text", description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="a directory that //train sealed")
    parser.add_argument("--tokens", type=positive, default=24, help="how many to add")
    parser.add_argument("text", help="what the text begins with, a word at least")
    options = parser.parse_args(arguments)
    path = Invocation.from_environment().resolve(options.checkpoint)
    if not options.text:
        parser.error("the text is empty, and a model needs something to go on from")
    text = continued(load_language_model(path), options.text, options.tokens)
    Console(markup=False, highlight=False, soft_wrap=True).print(text)
    return 0


if __name__ == "__main__":
    run(main)
