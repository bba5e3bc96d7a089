"""The forward pass of a pack: the frozen base model with a pool of adapters.

Each slot gets only what its loss needs: log-probabilities, logits, hidden states.
"""

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

_EXAMPLE = 256  # number of labels in the example that code is compiled with
_CHUNK_LOGITS = 1 << 28  # most logits held at once when only log-probabilities are needed: 1 GiB in float32
_KERNELS = [  # attention kernels, fastest first; for an 8B base on an H200, cuDNN: 0.29 ms a layer, flash: 0.52 ms
    SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH,
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the loss of one slot needs from a forward pass.

    Attributes:
        positions: [tokens], position in the slot's concatenated rows of the token that predicts each label.
        labels: [tokens], the tokens to predict.
        full: range of the tokens whose logits over the whole vocabulary are needed.
        layer: decoder layer whose hidden states are needed; None for none.
    """

    positions: Tensor
    labels: Tensor
    full: tuple[int, int] = (0, 0)
    layer: int | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """The result of a forward pass for one slot.

    Attributes:
        request: what the slot's loss needs.
        logp: [tokens], log-probability of each label, float32.
        logits: [tokens of ``request.full``, vocabulary], float32.
        hidden: [tokens, width], float32; None if the request names no layer.
    """

    request: Request
    logp: Tensor
    logits: Tensor
    hidden: Tensor | None

    def logits_of(self, start: int, stop: int) -> Tensor | None:
        """Return the full logits [stop - start, vocabulary] of some tokens; None if the request does not cover them."""
        begin, end = self.request.full
        return self.logits[start - begin : stop - begin] if begin <= start and stop <= end and end else None


def _require_gradient(_module: nn.Module, _inputs: Any, embedded: Tensor) -> None:
    if torch.is_grad_enabled():
        embedded.requires_grad_()


def label_logp(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the log-probability of each label [tokens] under logits [tokens, vocabulary], in float32."""
    return -cross_entropy(logits.float(), labels, reduction="none")


class PackModel(nn.Module):
    """The frozen base model with a pool of adapters: takes token ids and returns what each slot's request names."""

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
        """Return each slot's (logp, logits, hidden); see ``Output``.

        Args:
            ragged: the rows of all slots.
            requests: one for each slot.
            masks: for each slot, 1 where its adapter is trained, [P]; None trains all of it.
            fixed: adapters [K, P] to use instead of the pool's: those of the reference model.
        """
        adapters = self.pool(len(requests), masks, dtype=self._stacked.dtype) if fixed is None else fixed
        wanted = {request.layer for request in requests if request.layer is not None}
        with hidden_states(self.base, wanted) as states:
            self._rehearse(adapters, ragged, wanted=frozenset(wanted))
            run = self._last if self.replays is None or wanted else self.replays
            last = run(adapters, ragged)
        slots = zip(requests, ragged.starts, self._head_calls(requests), strict=True)
        hidden = {n: ragged.sequence(h) for n, h in states.items()}
        return [self._slot(request, last, hidden, start=start, calls=calls) for request, start, calls in slots]

    def begin(self) -> None:
        """Begin a pack: discard the steps that were captured for the previous pack."""
        self.replays = Replays(self._last) if self.captures else None

    @property
    def captures(self) -> bool:
        """Whether steps are captured as CUDA graphs: only for a compiled, unpartitioned base model on a GPU."""
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
        """Return how often each slot calls the output layer: (for log-probabilities alone, for full logits).

        Each call of a partitioned layer is a collective operation, and ranks have different rows. So all ranks make
        as many calls as the rank that needs most. A rank without tokens for a call uses one spare token.
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
        """Choose the attention kernels, and let the first layer use the same compiled code as the others.

        For that, the embeddings require a gradient, as the inputs of all other layers do; it costs 0.3 % of a step.
        """
        if not self._stacked.compiled:
            yield
            return
        hook = self.base.get_input_embeddings().register_forward_hook(_require_gradient)  # type: ignore[operator] # a module's
        try:
            with sdpa_kernel(_KERNELS, set_priority=True):
                yield
        finally:
            hook.remove()

    def _slot(
        self, request: Request, last: Tensor, hidden: Mapping[int, Tensor], *, start: int, calls: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        # The output layer runs once for each slot: the shape of the product, and so its rounding, then does not depend
        # on the other slots of the pack.
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
        return logp, logits, None if request.layer is None else rows(hidden[request.layer]).float()

    def _logp(self, states: Tensor, labels: Tensor, *, pieces: int, spare: Tensor) -> Tensor:
        """Return log-probabilities [tokens], computed in pieces so that only one piece's logits are held at a time.

        Args:
            states: [tokens, width].
            labels: [tokens].
            pieces: number of pieces.
            spare: [1, width], state to use for a piece without tokens; its result is not returned.
        """

        def some(states: Tensor, labels: Tensor) -> Tensor:
            return self._label_logp(head(self.base, states), labels)

        logps = [states.new_zeros(0).float()]
        for h, y in zip(states.tensor_split(pieces or 1), labels.tensor_split(pieces or 1), strict=True):
            piece = (h, y) if len(y) else (spare, y.new_zeros(1))
            if pieces:
                self._rehearse_labels(len(piece[1]), h)  # outside of the checkpoint, which would run it only once
            if pieces == 1:
                logps.append(some(*piece)[: len(y)])
            elif pieces:
                logps.append(checkpoint(some, *piece, use_reentrant=False)[: len(y)])
        return torch.cat(logps)

    def _rehearse_labels(self, count: int, like: Tensor) -> None:
        """Compile the code for labels with an example whose logits have the precision of ``like``."""
        learning = like.requires_grad and torch.is_grad_enabled()
        example = 1 if count == 1 else _EXAMPLE

        def run() -> None:
            logits = like.new_zeros(example, int(settings(self.base).vocab_size)).requires_grad_(learning)
            logp = self._label_logp(logits, torch.zeros(example, dtype=torch.long, device=like.device))
            if learning:
                torch.autograd.grad(logp.sum(), logits)

        self._stacked.rehearse(("labels", like.dtype, learning, example), run)
