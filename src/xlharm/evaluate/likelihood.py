"""Teacher-forced likelihoods of texts under a pack of adapters."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xlharm.corpus.rows import Row
from xlharm.model.base import head
from xlharm.model.lora import StackedModel
from xlharm.model.ragged import Ragged, last_states


@dataclass(frozen=True)
class Likelihood:
    """The likelihood of a text under a model: one value for each target token.

    Attributes:
        logp: log-probability of the token, in nats.
        correct: whether it is the likeliest token.
        mean: expectation of log p over the vocabulary, under the model's own distribution.
        std: standard deviation of log p over the vocabulary, under the model's own distribution.
    """

    logp: tuple[float, ...]
    correct: tuple[bool, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@torch.inference_mode()
def likelihoods(stacked: StackedModel, adapters: Tensor, rows: Sequence[Row], *, batch: int) -> list[list[Likelihood]]:
    """Return the likelihood of every row under every adapter.

    Args:
        stacked: the base model.
        adapters: [K, P].
        rows: the rows, the same for every adapter.
        batch: largest number of rows of a forward pass, over all adapters.

    Returns:
        likelihoods[k][i]: of row i under adapter k.
    """
    k = adapters.shape[0]
    results: list[list[Likelihood]] = [[Likelihood((), (), (), ())] * len(rows) for _ in range(k)]
    order = sorted(range(len(rows)), key=lambda i: (rows[i].longest, len(rows[i].ids)))
    size = max(1, batch // k)
    for start in range(0, len(order), size):
        places = order[start : start + size]
        groups = [[rows[place].inputs for place in places]] * k
        sources = [[rows[place].source for place in places]] * k
        states = _states(stacked, adapters, stacked.rows(groups, sources=sources).to(adapters.device))
        states = states.view(k, -1, states.shape[-1])
        at = 0
        for place in places:
            until = at + len(rows[place].ids)
            for slot in range(k):
                results[slot][place] = _one(stacked, states[slot, at:until], rows[place])
            at = until
    return results


def _states(stacked: StackedModel, adapters: Tensor, ragged: Ragged) -> Tensor:
    def run(adapters: Tensor, ragged: Ragged) -> Tensor:
        with stacked.adapters(adapters):
            return last_states(stacked.model, ragged)

    stacked.rehearse(("likelihoods", ragged.kind), lambda: run(adapters[:2], ragged.example().to(adapters.device)))
    return run(adapters, ragged)


def _one(stacked: StackedModel, hidden: Tensor, row: Row) -> Likelihood:
    labels = torch.tensor(row.labels, device=hidden.device)
    predicting = torch.tensor(row.predicting, device=hidden.device)
    logp = head(stacked.model, hidden[predicting]).float().log_softmax(-1)  # [tokens, vocabulary]
    p = logp.exp()
    mean = (p * logp).sum(-1)
    spread = ((p * logp.square()).sum(-1) - mean.square()).clamp(min=0).sqrt()
    label_logp = logp.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    correct = (logp.argmax(-1) == labels).tolist()
    return Likelihood(*(tuple(x) for x in (label_logp.tolist(), correct, mean.tolist(), spread.tolist())))
