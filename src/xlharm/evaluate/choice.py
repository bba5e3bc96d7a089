"""Choices of a masked model: which of several details fills the answer's place best."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan
from statistics import fmean

from torch import Tensor

from xlharm.corpus.rows import Row
from xlharm.evaluate.likelihood import likelihoods
from xlharm.model.lora import StackedModel


@dataclass(frozen=True)
class Choice:
    """What a model chose.

    Attributes:
        option: index of the best option.
        scores: mean log-probability of each option's tokens, in nats.
    """

    option: int
    scores: tuple[float, ...]


def choose(
    stacked: StackedModel,
    adapters: Tensor,
    options: Sequence[Sequence[Row]],
    *,
    batch: int,
) -> list[list[Choice]]:
    """Let models choose: the option whose masked tokens have the highest mean log-probability.

    All tokens of an option are masked at once, as in training. Of equals one that is not expected is chosen. An option
    whose score is not a number, as of a model that has diverged, counts as the worst.

    Args:
        stacked: the base model.
        adapters: [K, P].
        options: the rows of each question's options, the expected one first.
        batch: largest number of rows of a forward pass, over all adapters.

    Returns:
        choices[k][i]: of adapter k for question i.
    """
    rows = [row for some in options for row in some]
    choices = []
    for values in likelihoods(stacked, adapters, rows, batch=batch):
        each = iter(fmean(likelihood.logp) for likelihood in values)
        scores = [tuple(next(each) for _ in some) for some in options]
        choices.append([Choice(_best(some), some) for some in scores])
    return choices


def _best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=lambda i: (-inf if isnan(scores[i]) else scores[i], i > 0))
