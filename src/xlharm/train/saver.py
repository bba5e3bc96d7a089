"""Checkpoints of a pack in training: when to save and when to stop. All ranks do the same after the same step."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

import torch
from torch import Tensor


class Wish(IntEnum):
    """What to do between two steps."""

    GO_ON = 0
    SAVE = 1
    STOP = 2  # after saving


def never() -> bool:
    """Return False: never stop."""
    return False


Restored = tuple[int, dict[str, Tensor], Tensor]
"""Finished steps, engine state, losses so far."""


@dataclass
class Saver:
    """Saves and restores a pack's state between steps.

    Attributes:
        restore: takes the highest step wanted; returns the newest state up to there, or None if there is none.
        save: takes (finished steps, engine state, losses so far).
        every: seconds between two saves. If a save takes long, the interval grows, to at most ten times as much.
        stopping: returns whether the pack should save its state and end.
    """

    restore: Callable[[int], Restored | None]
    save: Callable[[int, dict[str, Tensor], Tensor], None]
    every: float = 60.0
    stopping: Callable[[], bool] = never
    _last: float = field(default_factory=time.monotonic)
    _took: float = 0.0

    def keep(self, step: int, state: dict[str, Tensor], losses: Tensor) -> None:
        """Save the state, and measure how long that takes."""
        begun = time.monotonic()
        self.save(step, state, losses)
        self._last = time.monotonic()
        self._took = self._last - begun

    def agreed(self, *, world: int, device: torch.device) -> Wish:
        """Return what every rank does now. Call it on all ranks after the same step."""
        wish = self._wish()
        if world == 1:
            return wish
        decision = torch.full((1,), int(wish), device=device)
        torch.distributed.broadcast(decision, src=0)  # rank 0 decides: the clocks of machines differ
        return Wish(int(decision))

    def _wish(self) -> Wish:
        if self.stopping():
            return Wish.STOP
        rest = min(max(self.every, 9 * self._took), 10 * self.every)
        return Wish.GO_ON if time.monotonic() - self._last < rest else Wish.SAVE
