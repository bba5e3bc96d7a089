"""Rows made up for losses: any numbers of tokens and rows, without a model."""

from typing import Any

import torch
from torch import Tensor

from xlharm.methods.inputs import LossInputs


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradient(value: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, of)
    return found


def some_logits(*, seed: int = 1) -> Tensor:
    """Logits [7, 11] with a gradient; the labels of ``tokens`` are 0 to 6."""
    return draw(7, 11, seed=seed).requires_grad_()


def label_logp(logits: Tensor) -> Tensor:
    labels = torch.arange(len(logits))
    return logits.log_softmax(-1)[labels, labels]


def tokens(logp: Tensor, **fields: Any) -> LossInputs:
    """Make rows of one token each out of log-probabilities [tokens]."""
    n = len(logp)
    optional = {f"optional_{name}": value for name, value in fields.items()}
    return LossInputs(logp=logp, labels=torch.arange(n), owner=torch.arange(n), rows=n, **optional)


def rows(which: list[int], *, seed: int = 3) -> LossInputs:
    """Make up the given rows out of four of two tokens each, with everything that a loss may read."""
    chosen = [t for r in which for t in (2 * r, 2 * r + 1)]
    logits, reference = draw(8, 11, seed=seed)[chosen], draw(8, 11, seed=seed + 1)[chosen]
    labels = torch.arange(8)[chosen]

    def logp(of: Tensor) -> Tensor:
        return of.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)

    common: dict[str, Any] = {
        "logp": logp(logits),
        "labels": labels,
        "owner": torch.arange(len(which)).repeat_interleave(2),
        "rows": len(which),
        "optional_reference_logp": logp(reference),
        "optional_logits": logits,
        "optional_reference_logits": reference,
        "optional_hidden": draw(8, 5, seed=seed + 2)[chosen],
        "optional_reference_hidden": draw(8, 5, seed=seed + 3)[chosen],
    }
    return LossInputs(**common, preferred=LossInputs(**{**common, "logp": common["logp"] * 0.5}))
