"""Generation for a pack: one batch holds rows of every adapter."""

from collections.abc import Sequence
from itertools import takewhile

import torch
from torch import Tensor

from xlharm.corpus.rows import Template
from xlharm.evaluate.cache import LayerWidths, layer_widths, row_bytes
from xlharm.evaluate.decoding import Batch
from xlharm.evaluate.stock import generate_stock
from xlharm.model.lora import StackedModel
from xlharm.model.sampling import Sampling
from xlharm.model.tokenizer import TextTokenizer

_BLOCK = 4  # decoding steps between two checks of which rows have ended
_REFILL = 0.25  # share of an adapter's rows that must be free before new prompts are put in
_LENGTHS = 32  # a cache's length is a multiple of this, so that few CUDA graphs are captured
_EXAMPLE = (32, 256)  # rows and length of the cache in the example that code is compiled with
_MEMORY = 0.25  # share of the GPU memory beside the base model that the cache may take


def stop_ids(tokenizer: TextTokenizer, template: Template) -> frozenset[int]:
    """Return the ids of tokens that end an answer: the template's, and all tokens that contain its ``stop``."""
    ids = template.stops
    if template.stop:
        ids |= {i for i, piece in enumerate(tokenizer.pieces) if template.stop in piece}
    return ids


def text_of(ids: Sequence[int], tokenizer: TextTokenizer, template: Template) -> str:
    """Return the text of an answer up to its end.

    Ids are cut at the first token that ends an answer: decoding leaves such tokens out, and what follows would be
    joined to the answer. At ``stop`` the text is cut, not the ids. The token with the stop may begin with the last
    characters of the answer (in Llama 3, a full stop and a line break are one token), and a stop may consist of several
    tokens.
    """
    text = tokenizer.decode(list(takewhile(lambda token: token not in template.stops, ids)))
    return (text.partition(template.stop)[0] if template.stop else text).strip()


@torch.no_grad()
def generate(
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
    """Continue every prompt with every adapter.

    Args:
        stacked: the base model.
        adapters: [K, P].
        prompts: token ids of each prompt; every adapter gets all prompts.
        stops: ids of tokens that end an answer; an answer includes its stop token (see ``text_of``).
        max_new_tokens: largest number of tokens of an answer.
        rows: largest number of rows in a batch, over all adapters.
        sampling: how tokens are sampled; None takes the likeliest.
        begun: of an encoder-decoder, which reads the prompts, the ids that its decoder begins with.

    Returns:
        answers[k][i]: token ids of adapter k's answer to prompt i.
    """
    if not prompts:
        return [[] for _ in range(adapters.shape[0])]
    length = max(map(len, prompts)) + max_new_tokens
    length = -(-length // _LENGTHS) * _LENGTHS
    if stacked.path != "fast":
        return generate_stock(
            stacked,
            adapters,
            prompts,
            stops=stops,
            max_new_tokens=max_new_tokens,
            rows=rows,
            sampling=sampling,
            begun=begun,
        )
    slots = adapters.shape[0]
    layers = layer_widths(stacked.model, slots=slots)
    each = max(1, min(_affordable(stacked, layers, rows, length=length) // slots, len(prompts)))
    _rehearse(stacked, layers, adapters, each=each)
    with (
        stacked.adapters(adapters),
        Batch(stacked, layers, slots=slots, each=each, length=length, sampling=sampling) as batch,
    ):
        return _Queue(batch, prompts, stops=stops, limit=max_new_tokens).run()


def _rehearse(stacked: StackedModel, layers: Sequence[LayerWidths], adapters: Tensor, *, each: int) -> None:
    few, (rows, length) = adapters[:2], _EXAMPLE

    def run() -> None:
        each_here = 1 if each == 1 else rows // len(few)
        with stacked.adapters(few), Batch(stacked, layers, slots=len(few), each=each_here, length=length) as batch:
            batch.logits()

    stacked.rehearse(("decoding", len(few), each == 1), run)


def _affordable(stacked: StackedModel, layers: Sequence[LayerWidths], rows: int, *, length: int) -> int:
    weight = next(stacked.model.parameters())
    if weight.device.type != "cuda":
        return rows
    # From the sizes of GPU and base model alone. The number of rows changes rounding, and so which of two almost
    # equally likely tokens is chosen. With the memory that is free now, answers would depend on earlier packs.
    left = torch.cuda.get_device_properties(weight.device).total_memory
    left -= sum(p.numel() * p.element_size() for p in stacked.model.parameters())
    return min(rows, int(left * _MEMORY) // row_bytes(layers, length=length, dtype=weight.dtype))


class _Queue:
    """A queue of prompts. Every adapter answers all prompts; a row that has ended gets the next one."""

    def __init__(self, batch: Batch, prompts: Sequence[tuple[int, ...]], *, stops: frozenset[int], limit: int) -> None:
        self._batch, self._prompts, self._stops, self._limit = batch, prompts, stops, limit
        self._order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        self._next = 0
        self._free = [list(range(batch.each)) for _ in range(batch.slots)]
        self._on: dict[int, tuple[int, int]] = {}
        self._answers: list[list[list[int]]] = [[[] for _ in prompts] for _ in range(batch.slots)]

    def run(self) -> list[list[list[int]]]:
        """Return the token ids of all answers, [adapter][prompt][token]."""
        while self._fill() or self._on:
            if self._on:
                count = min(_BLOCK, max(self._limit - len(self._answers[k][i]) for k, i in self._on.values()))
                for tokens in self._batch.steps(count):
                    self._take({row: tokens[row] for row in self._on})
        return self._answers

    def _fill(self) -> bool:
        """Put the next prompts into free rows, the same prompts for every adapter; return whether there were any."""
        left = len(self._order) - self._next
        count = min(left, *(len(free) for free in self._free))
        if not count or (self._on and count < min(left, _REFILL * self._batch.each)):
            return False
        prompts = self._order[self._next : self._next + count]
        self._next += count
        places = [[free.pop(0) for _ in range(count)] for free in self._free]
        texts = [self._prompts[i] for i in prompts]
        first = self._batch.fill(places, [texts] * self._batch.slots, numbers=prompts)
        begun = {}
        for k, slot_places in enumerate(places):
            for place, prompt, token in zip(slot_places, prompts, first[k], strict=True):
                row = k * self._batch.each + place
                self._on[row] = (k, prompt)
                begun[row] = token
        self._take(begun)
        return True

    def _take(self, tokens: dict[int, int]) -> None:
        """Append a token to the answer of each row in ``tokens``, and free the rows whose answers have ended."""
        for row, token in tokens.items():
            k, prompt = self._on[row]
            answer = self._answers[k][prompt]
            answer.append(token)
            if token in self._stops or len(answer) >= self._limit:
                del self._on[row]
                self._free[k].append(row - k * self._batch.each)
