"""Greedy generation for a whole pack: one batch holds rows of every adapter."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xlharm.model.base import TextTokenizer, decoder, head
from xlharm.model.lora import StackedModel


def stop_ids(tokenizer: TextTokenizer, *, stop: str) -> frozenset[int]:
    """Return the tokens after which an answer is over: end of sequence, or any that contain ``stop``."""
    found = set() if tokenizer.eos is None else {tokenizer.eos}
    if stop:
        pieces = tokenizer.hf.batch_decode([[i] for i in range(len(tokenizer.hf))])
        found |= {i for i, piece in enumerate(pieces) if stop in piece}
    return frozenset(found)


@torch.inference_mode()
def generate(
    stacked: StackedModel,
    adapters: Tensor,
    prompts: Sequence[tuple[int, ...]],
    *,
    stops: frozenset[int],
    max_new_tokens: int,
    rows: int,
) -> list[list[list[int]]]:
    """Continue every prompt greedily with every adapter.

    Prompts of one length go together, so that no row is padded and no mask is needed.

    Args:
        stacked: the base.
        adapters: [K, P].
        prompts: token ids, the same for every adapter.
        stops: tokens that end an answer (left out of it).
        max_new_tokens: most tokens of an answer.
        rows: most rows of a batch, over all adapters.

    Returns:
        answers[k][i]: ids of adapter k's answer to prompt i.
    """
    k = adapters.shape[0]
    answers: list[list[list[int]]] = [[[] for _ in prompts] for _ in range(k)]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    with stacked.adapters(adapters):
        for group in _groups(order, prompts, most=max(1, rows // k)):
            ids = torch.tensor([prompts[i] for i in group], device=adapters.device).repeat(k, 1)
            tokens = _greedy(stacked, ids, stops=stops, max_new_tokens=max_new_tokens).tolist()
            for row, told in enumerate(tokens):
                slot, place = divmod(row, len(group))
                answers[slot][group[place]] = _cut(told, stops)
    return answers


def _groups(order: list[int], prompts: Sequence[tuple[int, ...]], *, most: int) -> list[list[int]]:
    groups: list[list[int]] = []
    for i in order:
        if groups and len(prompts[groups[-1][0]]) == len(prompts[i]) and len(groups[-1]) < most:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _greedy(stacked: StackedModel, ids: Tensor, *, stops: frozenset[int], max_new_tokens: int) -> Tensor:
    """Return [rows, steps] of greedy tokens; stops early once every row has ended."""
    from transformers import DynamicCache

    model = stacked.model
    ends = torch.tensor(sorted(stops), device=ids.device)
    cache = DynamicCache(config=model.config)
    done = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
    told = []
    for _ in range(max_new_tokens):
        out = decoder(model)(input_ids=ids, past_key_values=cache, use_cache=True)
        ids = head(model, out.last_hidden_state[:, -1]).argmax(-1, keepdim=True)
        told.append(ids)
        done |= torch.isin(ids[:, 0], ends)
        if bool(done.all()):
            break
    return torch.cat(told, dim=1)


def _cut(ids: list[int], stops: frozenset[int]) -> list[int]:
    return next((ids[:i] for i, token in enumerate(ids) if token in stops), ids)
