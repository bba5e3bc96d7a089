"""Greedy generation for a pack: one batch holds rows of every adapter."""

from collections.abc import Callable, Sequence
from itertools import takewhile

import torch
from torch import Tensor

from xlharm.corpus.rows import Template
from xlharm.errors import UserError
from xlharm.evaluate.cache import NAME, RowCache, attention, row_bytes
from xlharm.model.base import decoder, head, is_partitioned, settings
from xlharm.model.lora import StackedModel
from xlharm.model.ragged import UNSUPPORTED, attending
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
        pieces = tokenizer.hf.batch_decode([[i] for i in range(len(tokenizer.hf))])
        ids |= {i for i, piece in enumerate(pieces) if template.stop in piece}
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
) -> list[list[list[int]]]:
    """Continue every prompt greedily with every adapter.

    Args:
        stacked: the base model.
        adapters: [K, P].
        prompts: token ids of each prompt; every adapter gets all prompts.
        stops: ids of tokens that end an answer; an answer includes its stop token (see ``text_of``).
        max_new_tokens: largest number of tokens of an answer.
        rows: largest number of rows in a batch, over all adapters.

    Returns:
        answers[k][i]: token ids of adapter k's answer to prompt i.
    """
    if not prompts:
        return [[] for _ in range(adapters.shape[0])]
    length = max(map(len, prompts)) + max_new_tokens
    length = -(-length // _LENGTHS) * _LENGTHS
    each = max(1, min(_affordable(stacked, rows, length=length) // adapters.shape[0], len(prompts)))
    _rehearse(stacked, adapters, each=each)
    with stacked.adapters(adapters), attending(stacked.model, NAME, attention):
        batch = _Batch(stacked, slots=adapters.shape[0], each=each, length=length)
        try:
            return _Queue(batch, prompts, stops=stops, limit=max_new_tokens).run()
        finally:
            batch.cache.close()


def _rehearse(stacked: StackedModel, adapters: Tensor, *, each: int) -> None:
    few, (rows, length) = adapters[:2], _EXAMPLE

    def run() -> None:
        with stacked.adapters(few), attending(stacked.model, NAME, attention):
            batch = _Batch(stacked, slots=len(few), each=1 if each == 1 else rows // len(few), length=length)
            batch.logits()
            batch.cache.close()

    stacked.rehearse(("decoding", len(few), each == 1), run)


def _affordable(stacked: StackedModel, rows: int, *, length: int) -> int:
    weight = next(stacked.model.parameters())
    if weight.device.type != "cuda":
        return rows
    # From the sizes of GPU and base model alone. The number of rows changes rounding, and so which of two almost
    # equally likely tokens is chosen. With the memory that is free now, answers would depend on earlier packs.
    left = torch.cuda.get_device_properties(weight.device).total_memory
    left -= sum(p.numel() * p.element_size() for p in stacked.model.parameters())
    return min(rows, int(left * _MEMORY) // row_bytes(settings(stacked.model), length=length, dtype=weight.dtype))


@torch.no_grad()
def check_decoding(stacked: StackedModel) -> None:
    """Check that a decoding step from the row cache gives the same logits as a plain forward pass.

    A base model of an unknown kind may have another attention.

    Raises:
        UserError: the logits differ, so answers would be wrong, or the base model cannot run this way.
    """
    vocabulary = int(settings(stacked.model).vocab_size)
    prompts = [tuple((7 * i + 3 * n) % vocabulary for i in range(n)) for n in (3, 9)]
    with attending(stacked.model, NAME, attention), torch.compiler.set_stance("force_eager"):
        batch = _Batch(stacked, slots=1, each=2, length=_LENGTHS)
        try:
            first = batch.fill([[0, 1]], [prompts])[0]
            logits = batch.logits()
        except UNSUPPORTED as error:
            raise UserError(
                f"base: {type(stacked.model).__name__} cannot answer several prompts at once: {error}"
            ) from None
        finally:
            batch.cache.close()
    for i, prompt in enumerate(prompts):
        ids = torch.tensor([[*prompt, first[i]]], device=logits.device)
        plain = head(stacked.model, decoder(stacked.model)(input_ids=ids, use_cache=False).last_hidden_state[0, -1])
        apart = float((logits[i].float() - plain.float()).abs().max() / plain.float().std())
        if not apart < (0.01 if plain.dtype == torch.float32 else 0.5):
            raise UserError(
                f"base: logits of a decoding step differ from those of a plain forward pass by {apart:.2g} standard "
                f"deviations: xlharm does not know the attention of {type(stacked.model).__name__}"
            )


class _Batch:
    """R = K · each rows that are decoded together; row k · each + i is the i-th row of adapter k.

    On a GPU the decoding step is captured as a CUDA graph, so that a step is one launch.
    """

    def __init__(self, stacked: StackedModel, *, slots: int, each: int, length: int) -> None:
        self.model, self.slots, self.each = stacked.model, slots, each
        self.device = next(self.model.parameters()).device
        self.cache = RowCache(self.model, rows=slots * each, length=length)
        self._ids = torch.zeros(slots * each, 1, dtype=torch.long, device=self.device)
        self._replay: Callable[[], None] | None = None

    def fill(self, places: Sequence[Sequence[int]], prompts: Sequence[Sequence[tuple[int, ...]]]) -> list[list[int]]:
        """Put prompt ``prompts[k][j]`` into row ``places[k][j]`` of adapter k; return the answers' first tokens."""
        count = len(places[0])
        longest = max(len(p) for slot_entries in prompts for p in slot_entries)
        ids = torch.zeros(self.slots * count, longest, dtype=torch.long)
        for i, prompt in enumerate(p for slot_entries in prompts for p in slot_entries):
            ids[i, : len(prompt)] = torch.tensor(prompt)
        lengths = torch.tensor([len(p) for slot_entries in prompts for p in slot_entries], device=self.device)
        rows = torch.tensor(
            [k * self.each + p for k, slot_entries in enumerate(places) for p in slot_entries], device=self.device
        )
        self.cache.filling = rows
        # Padding is on the right, where no token attends to it. Not compiled: prompts have too many lengths.
        with torch.compiler.set_stance("force_eager"):
            out = decoder(self.model)(
                input_ids=ids.to(self.device),
                position_ids=torch.arange(longest, device=self.device)[None],
                use_cache=False,
                cache=self.cache,
            )
        last = out.last_hidden_state[torch.arange(len(lengths), device=self.device), lengths - 1]
        first = head(self.model, last).argmax(-1)
        self._ids[rows, 0] = first
        self.cache.positions[rows] = lengths
        return first.view(self.slots, count).tolist()

    def steps(self, count: int) -> list[list[int]]:
        """Decode ``count`` tokens of every row; return their ids, [count][R]."""
        if self._replay is None:
            self._replay = self._captured() if self._capturable() else self._step
        tokens = torch.empty(count, len(self._ids), dtype=torch.long, device=self.device)
        for i in range(count):
            self._replay()
            tokens[i] = self._ids[:, 0]
        return tokens.tolist()

    def logits(self) -> Tensor:
        """Return the logits [R, vocabulary] for the token after every row's current token.

        The model gets the rows of an adapter as the tokens of one row, so that compiled code need not divide sizes.
        """
        out = decoder(self.model)(
            input_ids=self._ids.view(self.slots, self.each),
            position_ids=self.cache.positions.view(self.slots, self.each),
            attention_mask=self.cache.mask(),
            use_cache=False,
            cache=self.cache,
        )
        return head(self.model, out.last_hidden_state.flatten(0, 1))

    def _step(self) -> None:
        self._ids.copy_(self.logits().argmax(-1, keepdim=True))
        # A row that has ended is still decoded, until another prompt is put into it.
        self.cache.positions.add_(1).clamp_(max=self.cache.length - 1)

    def _capturable(self) -> bool:
        # With a partitioned base model, a graph would read the addresses of gathered weights that no longer exist.
        return self.device.type == "cuda" and not is_partitioned(self.model)

    def _captured(self) -> Callable[[], None]:
        state = self._ids.clone(), self.cache.positions.clone()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch leaves it untyped
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # a first run lets libraries choose kernels and workspaces before the capture
            self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self._ids.copy_(state[0])
        self.cache.positions.copy_(state[1])
        return graph.replay


class _Queue:
    """A queue of prompts. Every adapter answers all prompts; a row that has ended gets the next one."""

    def __init__(self, batch: _Batch, prompts: Sequence[tuple[int, ...]], *, stops: frozenset[int], limit: int) -> None:
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
        first = self._batch.fill(places, [[self._prompts[i] for i in prompts]] * self._batch.slots)
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
