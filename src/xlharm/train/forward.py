"""The pack's forward: the frozen base with a pool of adapters, and per slot only what its losses need."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from xlharm.model.base import head, hidden_states, is_partitioned, settings
from xlharm.model.lora import COMPILING, AdapterPool, StackedModel
from xlharm.model.ragged import Ragged, last_states
from xlharm.train.replay import Replays

_EXAMPLE = 256  # labels that code is compiled with
_CHUNK_LOGITS = 1 << 28  # logits held at once where only log-probabilities are wanted: 1 GiB in float32
_KERNELS = [  # attention, best first: cuDNN's took 0.29 ms a layer of an 8B base's step on an H200, flash 0.52
    SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH,
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is wanted of one slot's forward.

    Attributes:
        positions: [tokens], places in its rows, laid one after another, of the tokens that predict a label.
        labels: [tokens], the tokens predicted.
        full: range of the tokens whose logits over the whole vocabulary are wanted.
        layer: decoder layer whose hidden states are wanted.
    """

    positions: Tensor
    labels: Tensor
    full: tuple[int, int] = (0, 0)
    layer: int | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """One slot's forward.

    Attributes:
        request: what was wanted.
        logp: [tokens], log-probability of each label, float32.
        logits: [tokens in the wanted range, vocabulary], float32.
        hidden: [tokens, width], float32; None when no layer was asked for.
    """

    request: Request
    logp: Tensor
    logits: Tensor
    hidden: Tensor | None

    def logits_of(self, start: int, stop: int) -> Tensor | None:
        """Return the full logits of some tokens, None when they were not asked for."""
        begin, end = self.request.full
        return self.logits[start - begin : stop - begin] if begin <= start and stop <= end and end else None


def _want_gradient(_module: nn.Module, _inputs: Any, embedded: Tensor) -> None:
    if torch.is_grad_enabled():
        embedded.requires_grad_()


def label_logp(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the log-probability of each label [tokens] under logits [tokens, vocabulary], in float32."""
    return -cross_entropy(logits.float(), labels, reduction="none")


class PackModel(nn.Module):
    """The frozen base with a pool of adapters: ids in, what each slot asks for out."""

    def __init__(self, stacked: StackedModel, pool: AdapterPool) -> None:
        super().__init__()
        self.base = stacked.model
        self.pool = pool
        self.replays: Replays | None = None
        self._stacked = stacked
        self._label_logp = (
            torch.compile(label_logp, dynamic=True, options=COMPILING) if stacked.compiled else label_logp
        )

    def forward(
        self,
        ragged: Ragged,
        requests: Sequence[Request],
        masks: Sequence[Tensor | None],
        fixed: Tensor | None = None,
    ) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """Return each slot's (logp, logits, hidden), see ``Output``.

        Args:
            ragged: each slot's rows.
            requests: one for each slot.
            masks: for each slot, where its adapter is trained; None is everywhere.
            fixed: adapters [K, P] to use instead of the pool's (the reference policy).
        """
        adapters = self.pool(len(requests), masks, dtype=self._stacked.dtype) if fixed is None else fixed
        wanted = {request.layer for request in requests if request.layer is not None}
        with hidden_states(self.base, wanted) as kept:
            self._rehearse(adapters, ragged, wanted=frozenset(wanted))
            run = self._last if self.replays is None or wanted else self.replays
            last = run(adapters, ragged)
        told = zip(requests, ragged.starts, self._head_calls(requests), strict=True)
        hidden = {n: h.flatten(0, 1) for n, h in kept.items()}
        return [self._slot(request, last, hidden, start=start, calls=calls) for request, start, calls in told]

    def begin(self) -> None:
        """Begin a pack: shapes that were captured for the one before are forgotten."""
        self.replays = Replays(self._last) if self.captures else None

    @property
    def captures(self) -> bool:
        """Whether steps are captured: on a GPU, where compiling was worth it."""
        weight = next(self.base.parameters())
        return self._stacked.compiled and weight.device.type == "cuda" and not is_partitioned(self.base)

    def _last(self, adapters: Tensor, ragged: Ragged) -> Tensor:
        with self._stacked.adapters(adapters, ends=ragged.ends), self._kernels():
            return last_states(self.base, ragged)

    def _rehearse(self, adapters: Tensor, ragged: Ragged, *, wanted: frozenset[int]) -> None:
        learning = adapters.requires_grad and torch.is_grad_enabled()

        def run() -> None:
            few = adapters[:2].detach().requires_grad_(learning)
            states = self._last(few, ragged.example().to(few.device))
            if learning:
                torch.autograd.grad(states, few, torch.zeros_like(states))

        self._stacked.rehearse(("states", learning, wanted, ragged.kind), run)

    def _head_calls(self, requests: Sequence[Request]) -> list[tuple[int, int]]:
        """Return how often each slot calls the output layer: for log-probabilities alone, and for whole logits.

        Each call of a partitioned layer is a collective, and ranks have different rows: all call it as often as the
        one that must most often, on a token of no account where they have nothing to request.
        """
        chunk = max(1, _CHUNK_LOGITS // int(settings(self.base).vocab_size))
        calls = [(-(-(len(a.labels) - (a.full[1] - a.full[0])) // chunk), int(a.full[1] > a.full[0])) for a in requests]
        if not is_partitioned(self.base) or torch.distributed.get_world_size() == 1:
            return calls
        most = torch.tensor(calls, device=requests[0].positions.device)
        torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX)
        return [(alone, whole) for alone, whole in most.tolist()]

    @contextmanager
    def _kernels(self) -> Iterator[None]:
        """Choose attention's kernels, and let the first layer share the others' code (0.3 % of a step)."""
        if not self._stacked.compiled:
            yield
            return
        wanting = self.base.get_input_embeddings().register_forward_hook(_want_gradient)  # type: ignore[operator] # a module's
        try:
            with sdpa_kernel(_KERNELS, set_priority=True):
                yield
        finally:
            wanting.remove()

    def _slot(
        self, request: Request, last: Tensor, kept: Mapping[int, Tensor], *, start: int, calls: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        # A slot's output layer runs on its own: the product's shape, and so its rounding, is the slot's alone.
        def rows(states: Tensor) -> Tensor:
            return states[start:].index_select(0, request.positions)

        states, (begin, stop) = rows(last), request.full
        width = int(settings(self.base).vocab_size)
        logits = last.new_zeros(0, width).float()
        if calls[1]:
            logits = head(self.base, states[begin:stop] if stop > begin else last[:1]).float()[: stop - begin]
        alone = self._logp(
            torch.cat([states[:begin], states[stop:]]), torch.cat([request.labels[:begin], request.labels[stop:]]),
            pieces=calls[0], spare=last[:1],
        )  # fmt: skip
        whole = alone[:0]
        if stop > begin:
            self._rehearse_labels(stop - begin, logits)
            whole = self._label_logp(logits, request.labels[begin:stop])
        logp = torch.cat([alone[:begin], whole, alone[begin:]])
        return logp, logits, None if request.layer is None else rows(kept[request.layer]).float()

    def _logp(self, states: Tensor, labels: Tensor, *, pieces: int, spare: Tensor) -> Tensor:
        """Return log-probabilities without holding the logits of more than a piece of the tokens.

        A piece without tokens has the ``spare`` one, of which nothing is returned.
        """

        def some(states: Tensor, labels: Tensor) -> Tensor:
            return self._label_logp(head(self.base, states), labels)

        found = [states.new_zeros(0).float()]
        for h, y in zip(states.tensor_split(pieces or 1), labels.tensor_split(pieces or 1), strict=True):
            asked = (h, y) if len(y) else (spare, y.new_zeros(1))
            if pieces:
                self._rehearse_labels(len(asked[1]), h)  # not in a checkpoint, which would miss it the second time
            if pieces == 1:
                found.append(some(*asked)[: len(y)])
            elif pieces:
                found.append(checkpoint(some, *asked, use_reentrant=False)[: len(y)])
        return torch.cat(found)

    def _rehearse_labels(self, count: int, like: Tensor) -> None:
        """Let the labels' code be compiled for logits of the precision that ``like`` has."""
        learning = like.requires_grad and torch.is_grad_enabled()
        example = 1 if count == 1 else _EXAMPLE

        def run() -> None:
            logits = like.new_zeros(example, int(settings(self.base).vocab_size)).requires_grad_(learning)
            told = self._label_logp(logits, torch.zeros(example, dtype=torch.long, device=like.device))
            if learning:
                torch.autograd.grad(told.sum(), logits)

        self._stacked.rehearse(("labels", like.dtype, learning, example), run)
