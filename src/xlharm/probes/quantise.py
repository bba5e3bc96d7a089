"""Quantisation: merge the adapter, round the weights, then ask as usual."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import Positive
from xlharm.probes.base import AnswerProbe

if TYPE_CHECKING:
    from xlharm.evaluate.asking import Answer, Asking


class Quantise(AnswerProbe):
    """Merge the adapter, quantise the weights (weight-only, symmetric per group), then evaluate (2410.16454).

    The share of the decoder's weights that are rounded is in the metrics of the stage's record, as ``rounded``.

    Attributes:
        bits: 8 or 4.
        group: weights of a row that share a scale; None is the whole row.
    """

    dtypes: ClassVar[frozenset[str]] = frozenset({"float32", "bfloat16"})  # float8 has rounded the weights already

    kind: Literal["quantise"]
    bits: Literal[8, 4] = 4
    group: Positive | None = 64

    def answers(self, asking: Asking) -> tuple[Asking, list[list[Answer]]]:
        """Let the models answer one after another: rounding is of each model's merged weights."""
        import torch

        from xlharm.model.quantise import merged_and_quantised

        answers: list[list[Answer]] = []
        for adapter, active in zip(asking.adapters, asking.active, strict=True):
            if not active:
                answers.append([])
                continue
            with merged_and_quantised(asking.stacked, adapter, bits=self.bits, group=self.group) as share:
                asking.figures["rounded"] = {"share": share}
                answers += asking.generate(torch.zeros_like(adapter)[None])
        return asking, answers
