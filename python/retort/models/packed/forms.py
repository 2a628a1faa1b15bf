"""Which architectures have a packed form."""

from retort.models.packed.architecture import Architecture
from retort.models.packed.decoders import PackedGPT2, PackedLlama
from retort.models.packed.encoders import PackedEncoder


def packed_form(config: Architecture) -> "PackedEncoder | PackedLlama | PackedGPT2 | None":
    """The forward pass of an architecture on sequences that lie one after another.

    Returns:
        That of an encoder gives the last hidden states, that of a causal language model the scores of next tokens; None
        of an architecture that has none here.
    """
    return PackedEncoder.of(config) or PackedLlama.of(config) or PackedGPT2.of(config)
