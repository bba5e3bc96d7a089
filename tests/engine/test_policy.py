"""Failure by kind: what is done about it, and how often."""

import errno
from itertools import pairwise

import pytest

from xlharm.engine.policy import CRASHES, IO_RETRIES, MEMORY_RETRIES, Abort, GiveUp, Policy, Recompute, Retry, Split
from xlharm.engine.trouble import Trouble, TroubleKind, trouble_of
from xlharm.errors import CorruptArtifactError, UserError
from xlharm.stages.job import OutOfMemoryError


def decisions(kind: TroubleKind, *, times: int, size: int = 1, key: str | None = None) -> list[object]:
    policy = Policy()
    trouble = Trouble(kind=kind, message="m", key=key)
    return [policy.decide(trouble, pack="p", size=size) for _ in range(times)]


@pytest.mark.parametrize("kind", ["preempted", "node_died"])
def test_a_machine_taken_away_is_free(kind: TroubleKind) -> None:
    assert decisions(kind, times=50) == [Retry()] * 50


def test_crashes_are_bounded_and_then_the_pack_is_split() -> None:
    assert decisions("crashed", times=CRASHES) == [Retry()] * (CRASHES - 1) + [GiveUp(reason="crashed")]
    assert decisions("crashed", times=CRASHES, size=4)[-1] == Split()


def test_halves_inherit_crashes_so_that_splitting_ends() -> None:
    policy = Policy()
    crash = Trouble(kind="crashed", message="m")
    for _ in range(CRASHES):
        policy.decide(crash, pack="p", size=2)
    policy.inherit("p", ("a", "b"))
    assert policy.decide(crash, pack="a", size=1) == GiveUp(reason="crashed")


def test_memory() -> None:
    assert decisions("out_of_memory", times=1, size=2) == [Split()]
    assert decisions("out_of_memory", times=1) == [GiveUp(reason="out_of_memory")]
    trouble = Trouble(kind="out_of_memory", message="m")
    assert Policy().decide(trouble, pack="p", size=2, larger_device=True) == Retry()


def test_memory_that_others_took_is_waited_for_longer_each_time_and_never_splits_a_pack() -> None:
    answers = decisions("memory_taken", times=MEMORY_RETRIES + 1, size=4)
    delays = [d.delay for d in answers if isinstance(d, Retry)]
    assert delays[:8] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert len(delays) == MEMORY_RETRIES
    assert set(delays[8:]) == {300}
    assert answers[-1] == GiveUp(reason="out_of_memory")


def test_io_backs_off_longer_each_time() -> None:
    answers = decisions("io", times=IO_RETRIES + 1)
    delays = [d.delay for d in answers if isinstance(d, Retry)]
    assert len(delays) == IO_RETRIES
    assert all(later == 2 * sooner for sooner, later in pairwise(delays))
    assert answers[-1] == GiveUp(reason="io")


def test_damage_is_made_good_a_few_times() -> None:
    answers = decisions("corrupt", times=4, key="k")
    assert answers == [Recompute(key="k")] * 3 + [GiveUp(reason="io")]
    assert decisions("corrupt", times=1) == [GiveUp(reason="io")]


def test_a_full_disk_stops_everything_and_a_mistake_only_itself() -> None:
    assert decisions("disk_full", times=1) == [Abort()]
    assert decisions("user", times=1) == [GiveUp(reason="user")]
    assert decisions("error", times=1, size=3) == [Split()]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutOfMemoryError("8 GiB"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (CorruptArtifactError("damaged", key="k"), "corrupt"),
        (UserError("no such language"), "user"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
        (ConnectionResetError("peer"), "io"),
        (IndexError("list index"), "error"),
    ],
)
def test_what_a_runner_raises_is_classified(error: Exception, kind: str) -> None:
    trouble = trouble_of(error)
    assert trouble.kind == kind
    assert trouble.key == ("k" if kind == "corrupt" else None)
    assert bool(trouble.detail) == (kind == "error")
    assert trouble.message


def test_messages_are_one_bounded_line_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "correct-horse-battery")
    text = "first\nsecond s3://user:hunter22@host correct-horse-battery hf_abcdefghijkl " + "x" * 900
    trouble = trouble_of(OSError(text))
    assert "\n" not in trouble.message
    assert len(trouble.message) <= 500
    for secret in ("hunter22", "battery", "hf_abc"):
        assert secret not in trouble.message
    assert "battery" not in trouble_of(ValueError("correct-horse-battery")).detail
