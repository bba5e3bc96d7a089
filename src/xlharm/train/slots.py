"""The trials of a pack: their inputs, their results, and which rows of a batch a process computes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xlharm.config.training import Training
from xlharm.corpus.sampling import Stream
from xlharm.train.terms import LossTerms


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One trial of a pack.

    Attributes:
        training: steps, learning rate, gradient clipping and other training settings.
        terms: the terms of its loss.
        stream: its rows.
        initial: the adapter that training starts from, [P].
        mask: 1 where the adapter is trained, [P]; None trains all of it.
        seed: the stage's seed.
        active: False for a slot whose stage is already finished. The slot keeps its place in every tensor, so
            that the other slots' numbers do not change.
    """

    training: Training
    terms: LossTerms
    stream: Stream
    initial: Tensor
    mask: Tensor | None
    seed: int = 0
    active: bool = True


@dataclass
class Trained:
    """The result of training one slot.

    Attributes:
        adapter: the trained adapter [P], on the CPU.
        curves: one value for every step of ``target`` (the objective's loss), ``retain`` (the retain term's loss),
            ``forget_nll`` and ``retain_nll`` (NLL per token, in nats, of the target and retain rows, which can be
            compared between objectives). Without a retain term only ``target`` and ``forget_nll``.
        moved: Euclidean distance between the adapter before and after training.
        began: Euclidean norm of the adapter before training.
        tokens: number of tokens of the slot's rows, without padding.
        seconds: wall time of the pack.
        stopped: (finished steps, name of the bound that was crossed) if the slot was stopped early, else None.
    """

    adapter: Tensor
    curves: dict[str, list[float]]
    moved: float
    began: float
    tokens: int
    seconds: float
    stopped: tuple[int, str] | None = None


@dataclass(frozen=True, kw_only=True)
class BatchShare:
    """Which places of a global batch this process computes, and in how large micro-batches.

    Attributes:
        rank: of this process in the data-parallel group.
        world: number of ranks.
        micro: largest number of places in a micro-batch; None sets no limit.
    """

    rank: int = 0
    world: int = 1
    micro: int | None = None

    def micro_batches(self, size: int, *, micro: int | None = None) -> list[list[int]]:
        """Cut this rank's share of the places 0 to size - 1 into micro-batches.

        All ranks get equally many micro-batches; some may be empty.

        Args:
            size: number of places in a global batch.
            micro: largest number of places in a micro-batch, if memory allows fewer than ``self.micro``.
        """
        places = list(range(self.rank, size, self.world))
        most = -(-size // self.world)
        micro = min(micro or most, self.micro or most, most)
        return [places[i : i + micro] for i in range(0, most, micro)]

    def extremes(self, value: int, *, device: torch.device) -> tuple[int, int]:
        """Return the smallest and the largest ``value`` of all ranks."""
        if self.world == 1:
            return value, value
        reduced = torch.tensor([value, -value], device=device)
        torch.distributed.all_reduce(reduced, op=torch.distributed.ReduceOp.MIN)
        least, most = reduced.tolist()
        return least, -most
