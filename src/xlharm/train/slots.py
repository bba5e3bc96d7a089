"""The trials of a pack: what goes in, what comes out, and which rows a process computes."""

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
        training: steps, rate, clip and the like.
        terms: what its loss is made of.
        stream: its rows.
        initial: the adapter it starts from, [P].
        mask: where the adapter is trained, [P]; None is everywhere.
        seed: the stage's seed.
        active: False for a slot whose stage is finished already: it keeps its place in every tensor, with
            padding for rows, so that the other slots' numbers do not change.
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
    """What came of one slot.

    Attributes:
        adapter: the trained adapter [P], on the CPU.
        curves: values at every step of ``target`` (the objective), ``retain`` (its term), and the NLL a token of
            the target and retain rows, which compares between objectives; only ``target`` and ``forget_nll``
            without a retain term.
        moved: Euclidean distance between the adapter before and after.
        began: Euclidean norm of the adapter before.
        tokens: tokens of its rows, padding excluded.
        seconds: wall time of the pack.
        stopped: (steps done, bound that was crossed) when it was stopped early.
    """

    adapter: Tensor
    curves: dict[str, list[float]]
    moved: float
    began: float
    tokens: int
    seconds: float
    stopped: tuple[int, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which of a batch's rows this process computes, and in how large bites."""

    rank: int = 0
    world: int = 1
    micro: int | None = None

    def bites(self, size: int, *, micro: int | None = None) -> list[list[int]]:
        """Cut the global row numbers 0…size-1 of this rank into micro-batches (empty ones keep ranks in step).

        Args:
            size: rows of a global batch.
            micro: most rows of a bite, when memory asks for fewer than ``self.micro``.
        """
        mine = list(range(self.rank, size, self.world))
        most = -(-size // self.world)
        micro = min(micro or most, self.micro or most, most)
        return [mine[i : i + micro] for i in range(0, most, micro)]

    def extremes(self, told: int, *, device: torch.device) -> tuple[int, int]:
        """Return the least and the most that any rank says."""
        if self.world == 1:
            return told, told
        said = torch.tensor([told, -told], device=device)
        torch.distributed.all_reduce(said, op=torch.distributed.ReduceOp.MIN)
        least, most = said.tolist()
        return least, -most
