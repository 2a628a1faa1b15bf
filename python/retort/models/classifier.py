"""A text classifier: a pretrained encoder, and a head that pools its tokens."""

import torch
from torch import Tensor, nn

from retort.models.arithmetic import Portable, drawn, portable_encoder
from retort.models.backbones import Backbone
from retort.models.config import ArithmeticName, HeadConfig
from retort.models.determinism import seed_from
from retort.models.packed.encoders import PackedEncoder
from retort.models.packed.heads import answered
from retort.models.packed.passes import Pass
from retort.models.packed.sequences import Sequences, packed


class TextClassifier(nn.Module):
    """An encoder of the BERT family and a classification head.

    Attributes:
        backbone: gives the last hidden states. Its own pooler, which nothing would use and so
            nothing would train, is taken off.
        head: from hidden states to logits.
        portable: how it is computed by portable kernels; None: by PyTorch.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: HeadConfig,
        labels: int,
        *,
        arithmetic: ArithmeticName = "native",
    ) -> None:
        """
        Raises:
            ConfigError: there is no portable arithmetic for this encoder.
        """
        super().__init__()
        self.portable: Portable[PackedEncoder] | None = (
            portable_encoder(backbone.config) if arithmetic == "portable" else None
        )
        if getattr(backbone, "pooler", None) is not None:
            backbone.register_module("pooler", None)
        self.backbone = backbone
        self.head = ClassificationHead(backbone.config.hidden_size, head, labels)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Class scores, float32, [texts, labels].

        Args:
            ids, mask: int64, [texts, tokens]; mask is 1 where there is a token, 0 at padding.
        """
        if self.portable is not None:
            return self.of_sequences(packed(ids, mask))
        hidden = self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        # The head is small and its sums are long: autocast leaves it as precise as its weights.
        with torch.autocast(hidden.device.type, enabled=False):
            precise = hidden.to(self.head.classify.weight.dtype)
            answers = self.answer(precise, mask.bool())
        return answers.float()

    def of_sequences(self, sequences: Sequences) -> Tensor:
        """Class scores of sequences, one row each, in portable arithmetic."""
        assert self.portable is not None
        how = self.portable.how(self)
        states = self.portable.form(self.portable.weights(self.backbone), sequences, how)
        return self.answer_packed(states, sequences.offsets, how)

    def answer(self, hidden: Tensor, real: Tensor) -> Tensor:
        """What is said of texts, one row each; for the arguments see `ClassificationHead.forward`."""
        logits: Tensor = self.head(hidden, real)
        return logits

    def answer_packed(self, hidden: Tensor, offsets: Tensor, how: Pass) -> Tensor:
        """The same in portable arithmetic; for the arguments see `retort.models.packed.heads.answered`."""
        assert self.portable is not None
        return answered(self.head.config, self.portable.weights(self.head), hidden, offsets, how)


class ClassificationHead(nn.Module):
    """Pooling, then LayerNorm if wanted, dropout and one linear layer."""

    def __init__(self, hidden: int, config: HeadConfig, labels: int) -> None:
        super().__init__()
        self.config = config
        # Without a bias: softmax would take it out again, and it would have no gradient.
        self.query = nn.Linear(hidden, 1, bias=False) if config.pooling == "attention" else None
        self.norm = nn.LayerNorm(hidden) if config.layer_norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.classify = nn.Linear(hidden, labels)

    def forward(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Class scores, [texts, labels], in the precision of the weights.

        Args:
            hidden: [texts, tokens, hidden], in the same.
            real: bool, [texts, tokens]; False at padding.
        """
        pooled = self.pool(hidden, real)
        logits: Tensor = self.classify(self.dropout(self.norm(pooled)))
        return logits

    def pool(self, hidden: Tensor, real: Tensor) -> Tensor:
        """One vector for each text, [texts, hidden]; a text without a token has a finite one."""
        if self.config.pooling == "cls":
            return hidden[:, 0]
        lowest = torch.finfo(hidden.dtype).min
        if self.config.pooling == "max":
            # amax shares the gradient among equal values, so that no choice decides where it goes.
            highest = hidden.masked_fill(~real.unsqueeze(2), lowest).amax(dim=1)
            return highest.masked_fill(~real.any(dim=1, keepdim=True), 0.0)
        if self.query is not None:
            weights = self.query(hidden).squeeze(2).masked_fill(~real, lowest).softmax(dim=1)
        else:
            weights = real.to(hidden.dtype) / real.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.bmm(weights.unsqueeze(1), hidden).squeeze(1)

    def draw(self, seed: int, deviation: float, arithmetic: ArithmeticName = "native") -> None:
        """Draw the weights anew from `seed`: normal matrices, zero biases, LayerNorm at identity."""
        generator = torch.Generator().manual_seed(seed_from(seed, "head"))
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim > 1 and arithmetic == "portable":
                    weight.copy_(drawn(weight.shape, deviation, "head", seed, name))
                elif weight.ndim > 1:
                    nn.init.normal_(weight, std=deviation, generator=generator)
                elif name == "norm.weight":
                    weight.fill_(1.0)
                else:
                    weight.zero_()
