"""Answers by transformers' own ``generate``: for base models whose layers keep more than keys and values."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from xlharm.model.base import head, last_hidden
from xlharm.model.lora import StackedModel
from xlharm.model.sampling import Sampling

Choose = Callable[[Tensor, int], Tensor]
_ROWS = 256  # most rows of a batch; a fixed number, because rounding depends on it


@dataclass(frozen=True)
class Reading:
    """What the rows of an encoder-decoder's batch read.

    Attributes:
        ids: [rows, length], padded on the right.
        real: [rows, length], 0 at padding.
    """

    ids: Tensor
    real: Tensor

    @staticmethod
    def of(sources: Sequence[Sequence[int]], *, device: torch.device, times: int = 1) -> "Reading":
        """Pad some rows with their last token, and repeat them all so many times."""
        longest = max(map(len, sources))
        ids = torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in sources], device=device)
        lengths = torch.tensor([len(row) for row in sources], device=device)
        real = (torch.arange(longest, device=device) < lengths[:, None]).long()
        return Reading(ids.repeat(times, 1), real.repeat(times, 1))


@torch.no_grad()
def generate_stock(
    stacked: StackedModel,
    adapters: Tensor,
    prompts: Sequence[tuple[int, ...]],
    *,
    stops: frozenset[int],
    max_new_tokens: int,
    rows: int,
    sampling: Sampling | None = None,
    begun: tuple[int, ...] = (),
) -> list[list[list[int]]]:
    """Continue every prompt with every adapter; see ``generate``.

    Prompts of one length share a batch, so that no row needs padding, which some families do not mask. An encoder masks
    its padding, so prompts that it reads share a batch with others of similar length.
    """
    k = adapters.shape[0]
    each = max(1, min(rows, _ROWS) // k)
    answers: list[list[list[int]]] = [[[] for _ in prompts] for _ in range(k)]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    equal = groupby(order, key=lambda i: 0 if begun else len(prompts[i]))
    with stacked.adapters(adapters):
        for places in (batch for _, some in equal for batch in _batches(list(some), each)):
            some = [prompts[place] for place in places]
            reading = Reading.of(some, device=adapters.device, times=k) if begun else None
            ids = torch.tensor([begun] * len(some) if begun else some, device=adapters.device).repeat(k, 1)
            choose = partial(_sampled, sampling, sampling.numbers[places].repeat(k, 1)) if sampling else None
            new, _ = continued(stacked, ids, stops=stops, max_new_tokens=max_new_tokens, choose=choose, reading=reading)
            for row, tokens in enumerate(new.tolist()):
                slot, place = divmod(row, len(places))
                answers[slot][places[place]] = _until_stop(tokens, stops)
    return answers


def _sampled(sampling: Sampling, numbers: Tensor, logits: Tensor, step: int) -> Tensor:
    return sampling.choose(logits, numbers[:, step])


def continued(
    stacked: StackedModel,
    ids: Tensor,
    *,
    stops: frozenset[int],
    max_new_tokens: int,
    logits: bool = False,
    choose: Choose | None = None,
    reading: Reading | None = None,
) -> tuple[Tensor, Sequence[Tensor]]:
    """Return new tokens [rows, ≤ max_new_tokens], and the logits [rows, vocabulary] of each step if they are wanted.

    Args:
        stacked: the base model; its ``caches`` says whether transformers' cache gives what its forward gives.
        ids: [rows, tokens], prompts of one length, or what the decoder of an encoder-decoder begins with.
        stops: ids of tokens that end an answer.
        max_new_tokens: largest number of tokens of an answer.
        logits: whether to return logits.
        choose: chooses the tokens [rows] from logits [rows, vocabulary] and the step; None takes the likeliest.
        reading: what an encoder reads.
    """
    run = _cached if stacked.caches else _again
    return run(stacked, ids, stops=stops, limit=max_new_tokens, logits=logits, choose=choose, reading=reading)


def _cached(
    stacked: StackedModel,
    ids: Tensor,
    *,
    stops: frozenset[int],
    limit: int,
    logits: bool,
    choose: Choose | None,
    reading: Reading | None,
) -> tuple[Tensor, Sequence[Tensor]]:
    from transformers import GenerationConfig

    start = ids.shape[1]

    def only_chosen(before: Tensor, scores: Tensor) -> Tensor:
        assert choose is not None
        ids = choose(scores, before.shape[1] - start).unsqueeze(-1)
        return torch.full_like(scores, float("-inf")).scatter(-1, ids, 0.0)

    model: Any = stacked.model
    if reading is None:
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    else:
        inputs = {"input_ids": reading.ids, "attention_mask": reading.real, "decoder_input_ids": ids}
    with _no_settings_of_its_own(model):
        out = model.generate(
            **inputs,
            logits_processor=[only_chosen] if choose else [],
            generation_config=GenerationConfig(
                do_sample=False,
                num_beams=1,
                max_new_tokens=limit,
                eos_token_id=sorted(stops) or None,
                pad_token_id=0,
                decoder_start_token_id=None if reading is None else int(ids[0, 0]),
                use_cache=True,
                return_dict_in_generate=True,
                output_logits=logits,
            ),
        )
    return out.sequences[:, ids.shape[1] :], out.logits or ()


def _again(
    stacked: StackedModel,
    ids: Tensor,
    *,
    stops: frozenset[int],
    limit: int,
    logits: bool,
    choose: Choose | None,
    reading: Reading | None,
) -> tuple[Tensor, Sequence[Tensor]]:
    """Run all tokens for each new one: slow, and by construction what the model's forward gives."""
    start, steps = ids.shape[1], []
    ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    ends = torch.tensor(sorted(stops), dtype=torch.long, device=ids.device)
    sources, real = (None, None) if reading is None else (reading.ids, reading.real)
    while ids.shape[1] < start + limit and not bool(ended.all()):
        states = last_hidden(stacked.model, ids, sources=sources, sources_real=real)
        step = head(stacked.model, states[:, -1])
        steps += [step] if logits else []
        new = step.argmax(-1) if choose is None else choose(step, ids.shape[1] - start)
        ended |= torch.isin(new, ends)
        ids = torch.cat([ids, new[:, None]], dim=1)
    return ids[:, start:], steps


@contextmanager
def _no_settings_of_its_own(model: Any) -> Iterator[None]:
    """Take away what the base model's files say about generation: forced tokens, penalties, sampling."""
    from transformers import GenerationConfig

    before = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = before


def _batches(places: list[int], size: int) -> list[list[int]]:
    return [places[i : i + size] for i in range(0, len(places), size)]


def _until_stop(tokens: list[int], stops: frozenset[int]) -> list[int]:
    return next((tokens[: i + 1] for i, token in enumerate(tokens) if token in stops), tokens)
