"""Teacher-forced likelihoods of given texts under a pack of adapters."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xlharm.data.rows import Row
from xlharm.model.base import decoder, head
from xlharm.model.lora import StackedModel


@dataclass(frozen=True)
class Likelihood:
    """A text's tokens under a model: one value for each target token.

    Attributes:
        logp: log-probability of the token.
        correct: whether it is the likeliest one.
        mean: mean of the log-probabilities of the whole vocabulary under the model's own distribution.
        std: their standard deviation under it.
    """

    logp: tuple[float, ...]
    correct: tuple[bool, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@torch.inference_mode()
def likelihoods(
    stacked: StackedModel, adapters: Tensor, rows: Sequence[Row], *, pad: int, batch: int
) -> list[list[Likelihood]]:
    """Return for each adapter [K, P] every row's likelihood, in order.

    Args:
        stacked: the base.
        adapters: [K, P].
        rows: the same for every adapter.
        pad: token id for padding; what is right of a token never reaches it.
        batch: most rows of a forward, over all adapters.
    """
    k = adapters.shape[0]
    found: list[list[Likelihood]] = [[Likelihood((), (), (), ())] * len(rows) for _ in range(k)]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    size = max(1, batch // k)
    with stacked.adapters(adapters):
        for start in range(0, len(order), size):
            places = order[start : start + size]
            longest = len(rows[places[-1]].ids)
            ids = torch.full((len(places), longest), pad)
            for j, place in enumerate(places):
                ids[j, : len(rows[place].ids)] = torch.tensor(rows[place].ids)
            tokens = ids.to(adapters.device).repeat(k, 1)
            hidden = decoder(stacked.model)(input_ids=tokens, use_cache=False).last_hidden_state
            grouped = hidden.view(k, len(places), longest, -1)
            for slot in range(k):
                for j, place in enumerate(places):
                    found[slot][place] = _one(stacked, grouped[slot, j], rows[place])
    return found


def _one(stacked: StackedModel, hidden: Tensor, row: Row) -> Likelihood:
    labels = torch.tensor(row.ids[row.start :], device=hidden.device)
    logp = head(stacked.model, hidden[row.start - 1 : len(row.ids) - 1]).float().log_softmax(-1)  # [tokens, vocabulary]
    p = logp.exp()
    mean = (p * logp).sum(-1)
    spread = ((p * logp.square()).sum(-1) - mean.square()).clamp(min=0).sqrt()
    told = logp.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    correct = (logp.argmax(-1) == labels).tolist()
    return Likelihood(*(tuple(x) for x in (told.tolist(), correct, mean.tolist(), spread.tolist())))
