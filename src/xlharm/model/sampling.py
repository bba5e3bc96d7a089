"""Sampled answers: which token follows is decided by one random number for each prompt and step.

The numbers depend on nothing else: not on the pack, the slot, the batch or the device. So the same prompts give the
same answers alone and in a pack, and two models answer with the same luck.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xlharm.plan.digest import mix

_DIGITS = 2**53  # as many whole numbers as a float64 tells apart
_ROWS = 256  # rows whose distributions are held in float64 at a time


@dataclass(frozen=True, eq=False)
class Sampling:
    """How tokens are sampled.

    Attributes:
        temperature: the logits are divided by it; above 0.
        top_p: only the likeliest tokens are sampled whose probabilities together just reach it (1904.09751); 1 for all.
        numbers: a number within [0, 1) for each prompt and step, [prompts, steps], float64.
    """

    temperature: float
    top_p: float
    numbers: Tensor

    def choose(self, logits: Tensor, numbers: Tensor) -> Tensor:
        """Choose the tokens whose share of the distribution the numbers fall into.

        The tokens are in the order of their ids, or of their probabilities with ``top_p`` below 1.

        Args:
            logits: [rows, vocabulary].
            numbers: of each row's prompt and step, [rows].

        Returns:
            ids [rows].
        """
        numbers = numbers.to(logits.device)
        starts = range(0, len(logits), _ROWS)
        return torch.cat([self._chosen(logits[i : i + _ROWS], numbers[i : i + _ROWS]) for i in starts])

    def _chosen(self, logits: Tensor, numbers: Tensor) -> Tensor:
        p = (logits.double() / self.temperature).softmax(-1)
        if self.top_p >= 1:
            return _place(p, numbers)
        p, ids = p.sort(dim=-1, descending=True, stable=True)
        before = p.cumsum(-1) - p
        p = p * (before < self.top_p)
        return ids.gather(-1, _place(p, numbers).unsqueeze(-1)).squeeze(-1)


def _place(p: Tensor, numbers: Tensor) -> Tensor:
    """Return the first index at which the sum of [rows, n] weights exceeds a share [rows] of their total."""
    sums = p.cumsum(-1)
    places = torch.searchsorted(sums, (numbers * sums[:, -1]).unsqueeze(-1), right=True).squeeze(-1)
    # a share near 1 may round to the total: the last token with a probability above 0 is meant then
    last = p.shape[-1] - 1 - (p > 0).flip(-1).int().argmax(-1)
    return torch.minimum(places, last)


def random_numbers(names: Sequence[object], *, seed: int, steps: int) -> Tensor:
    """Draw the numbers of prompts [prompts, steps] by a hash of (seed, purpose, prompt's name, step).

    Args:
        names: of the prompts: whatever tells one from another, such as the language, item, question and sample.
        seed: of the probe.
        steps: most tokens of an answer.
    """
    rows = [[mix(seed, "sample", name, step) % _DIGITS / _DIGITS for step in range(steps)] for name in names]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(names), steps)
