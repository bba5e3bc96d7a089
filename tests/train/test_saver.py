"""When a pack saves its state."""

import threading
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from xlharm.parallel import side_by_side
from xlharm.train.loop import _Pack
from xlharm.train.saver import Restored, Saver, Wish

CPU = torch.device("cpu")


def saver(**fields: object) -> Saver:
    return Saver(restore=lambda at_most: None, save=lambda *state: None, **fields)


def test_a_saver_waits_saves_and_stops() -> None:
    assert saver(every=1e9).agreed(world=1, device=CPU) == Wish.GO_ON
    assert saver(every=0.0).agreed(world=1, device=CPU) == Wish.SAVE
    assert saver(every=1e9, stopping=lambda: True).agreed(world=1, device=CPU) == Wish.STOP


def test_saving_takes_a_tenth_of_the_time_at_most_and_comes_at_last() -> None:
    slow = saver(every=100.0, _took=50.0)
    slow._last -= 400.0  # nine times as long as saving took: not yet
    assert slow.agreed(world=1, device=CPU) == Wish.GO_ON
    slow._last -= 100.0
    assert slow.agreed(world=1, device=CPU) == Wish.SAVE
    slower = saver(every=100.0, _took=1e6)
    slower._last -= 1001.0  # ten times `every` is the longest rest
    assert slower.agreed(world=1, device=CPU) == Wish.SAVE


def test_what_is_kept_is_handed_over_and_begins_a_rest() -> None:
    states: list[tuple[object, ...]] = []
    one = Saver(restore=lambda at_most: None, save=lambda *state: states.append(state), every=1e6, _last=-1e12)
    assert one.agreed(world=1, device=CPU) == Wish.SAVE
    losses = torch.zeros(2)
    one.keep(3, {}, losses)
    assert states == [(3, {}, losses)]
    assert one.agreed(world=1, device=CPU) == Wish.GO_ON


@pytest.mark.parametrize(
    ("steps", "agreed"),
    [(([8, 6], [8, 6]), 8), (([8, 6], [6]), 6), (([8, 6], [7, 4]), 0), (([8], []), 0), (([], []), 0)],
)
def test_all_ranks_continue_from_the_newest_step_that_each_has_undamaged(
    steps: tuple[list[int], list[int]], agreed: int
) -> None:
    together = threading.Barrier(2)
    values: dict[int, int] = {}

    def rank(number: int) -> int:
        def extremes(value: int, *, device: object) -> tuple[int, int]:
            values[number] = value
            together.wait()
            both = min(values.values()), max(values.values())
            together.wait()
            return both

        def restore(at_most: int) -> Restored | None:
            step = max((s for s in steps[number] if s <= at_most), default=0)
            return (step, {}, torch.zeros(1)) if step else None

        pack = SimpleNamespace(rows=SimpleNamespace(extremes=extremes), engine=SimpleNamespace(device=CPU))
        restored = _Pack._restored(pack, Saver(restore=restore, save=lambda *state: None), at_most=9)  # type: ignore[arg-type] # what it reads of a pack
        return restored[0] if restored else 0

    assert side_by_side([partial(rank, 0), partial(rank, 1)]) == [agreed, agreed]
