"""A batch of rows that are decoded together from a cache, one token of every row a step."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Self

import torch
from torch import Tensor

from xlharm.evaluate.cache import NAME, LayerWidths, RowCache, attention
from xlharm.model.attention import attending
from xlharm.model.base import decoder, head, is_partitioned
from xlharm.model.lora import StackedModel
from xlharm.model.sampling import Sampling


class Batch:
    """R = K · each rows that are decoded together; row k · each + i is the i-th row of adapter k.

    On a GPU the decoding step is captured as a CUDA graph, so that a step is one launch. It is used within a ``with``
    block, in which the base model attends to the cache.

    Args:
        stacked: the base model.
        layers: the widths of its attention layers.
        slots: K.
        each: rows of an adapter.
        length: largest number of tokens of a prompt and its answer.
        sampling: how tokens are sampled; None takes the likeliest.
    """

    def __init__(
        self,
        stacked: StackedModel,
        layers: Sequence[LayerWidths],
        *,
        slots: int,
        each: int,
        length: int,
        sampling: Sampling | None = None,
    ) -> None:
        self.model, self.slots, self.each = stacked.model, slots, each
        weight = next(self.model.parameters())
        self.device = weight.device
        self.cache = RowCache(layers, rows=slots * each, length=length, like=weight)
        self._opened = ExitStack()
        self._ids = torch.zeros(slots * each, 1, dtype=torch.long, device=self.device)
        self._sampling = sampling
        steps = sampling.numbers.shape[1] if sampling else 0
        self._numbers = torch.zeros(slots * each, steps, dtype=torch.float64, device=self.device)
        self._drawn = torch.zeros(slots * each, 1, dtype=torch.long, device=self.device)  # numbers used of each row
        self._replay: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        """Make the base model attend to the cache."""
        self._opened.callback(self.cache.close)
        self._opened.enter_context(attending(self.model, NAME, attention, rows=self.cache))
        return self

    def __exit__(self, *_: object) -> None:
        """Let the base model attend as before, and free the cache."""
        self._opened.close()

    def fill(
        self,
        places: Sequence[Sequence[int]],
        prompts: Sequence[Sequence[tuple[int, ...]]],
        *,
        numbers: Sequence[int] = (),
    ) -> list[list[int]]:
        """Put prompt ``prompts[k][j]`` into row ``places[k][j]`` of adapter k; return the answers' first tokens.

        Args:
            places: rows within each adapter's.
            prompts: of each adapter.
            numbers: the prompts' places in ``sampling.numbers``, the same for every adapter; needed for sampling.
        """
        logits = self.prefill(places, prompts)
        if self._sampling is None:
            first = logits.argmax(-1)
        else:
            rows = self._rows(places)
            own = self._sampling.numbers[list(numbers)].repeat(self.slots, 1).to(self.device)
            self._numbers[rows], self._drawn[rows] = own, 1
            first = self._sampling.choose(logits, own[:, 0])
            self._ids[rows, 0] = first
        return first.view(self.slots, len(places[0])).tolist()

    def _rows(self, places: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(
            [k * self.each + p for k, slot_places in enumerate(places) for p in slot_places], device=self.device
        )

    def prefill(self, places: Sequence[Sequence[int]], prompts: Sequence[Sequence[tuple[int, ...]]]) -> Tensor:
        """Do what ``fill`` does; return the logits [prompts, vocabulary] of the answers' first tokens."""
        longest = max(len(p) for slot_entries in prompts for p in slot_entries)
        ids = torch.tensor([p + p[-1:] * (longest - len(p)) for slot_entries in prompts for p in slot_entries])
        lengths = torch.tensor([len(p) for slot_entries in prompts for p in slot_entries], device=self.device)
        rows = self._rows(places)
        self.cache.filling = rows
        # Padding is on the right, where no token attends to it. Not compiled: prompts have too many lengths.
        with torch.compiler.set_stance("force_eager"):
            out = decoder(self.model)(
                input_ids=ids.to(self.device),
                position_ids=torch.arange(longest, device=self.device)[None],
                use_cache=False,
            )
        self.cache.filling = None
        last = out.last_hidden_state[torch.arange(len(lengths), device=self.device), lengths - 1]
        logits = head(self.model, last)
        self._ids[rows, 0] = logits.argmax(-1)
        self.cache.positions[rows] = lengths
        return logits

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
        self.cache.look_back()
        out = decoder(self.model)(
            input_ids=self._ids.view(self.slots, self.each),
            position_ids=self.cache.positions.view(self.slots, self.each),
            use_cache=False,
        )
        return head(self.model, out.last_hidden_state.flatten(0, 1))

    def advance(self, logits: Tensor) -> None:
        """Make the likeliest tokens, or the sampled ones, the rows' current tokens."""
        if self._sampling is None:
            self._ids.copy_(logits.argmax(-1, keepdim=True))
        else:
            numbers = self._numbers.gather(1, self._drawn).squeeze(1)
            self._ids.copy_(self._sampling.choose(logits, numbers).unsqueeze(-1))
            self._drawn.add_(1).clamp_(max=self._numbers.shape[1] - 1)
        # A row that has ended is still decoded, until another prompt is put into it.
        self.cache.positions.add_(1).clamp_(max=self.cache.length - 1)

    def _step(self) -> None:
        self.advance(self.logits())

    def _capturable(self) -> bool:
        # With a partitioned base model, a graph would read the addresses of gathered weights that no longer exist.
        return self.device.type == "cuda" and not is_partitioned(self.model)

    def _captured(self) -> Callable[[], None]:
        state = self._ids.clone(), self.cache.positions.clone(), self._drawn.clone()
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
        self._drawn.copy_(state[2])
        return graph.replay
