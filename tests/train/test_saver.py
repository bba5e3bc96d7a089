"""When a pack saves its state."""

import torch

from xlharm.train.saver import Saver, Wish

CPU = torch.device("cpu")


def saver(**fields: object) -> Saver:
    return Saver(restore=lambda: None, save=lambda *state: None, **fields)


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
    one = Saver(restore=lambda: None, save=lambda *state: states.append(state), every=1e6, _last=-1e12)
    assert one.agreed(world=1, device=CPU) == Wish.SAVE
    losses = torch.zeros(2)
    one.keep(3, {}, losses)
    assert states == [(3, {}, losses)]
    assert one.agreed(world=1, device=CPU) == Wish.GO_ON
