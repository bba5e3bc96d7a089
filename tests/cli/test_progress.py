"""Plain lines of a run: each says something new, and at which step it is."""

import io
from dataclasses import replace

import pytest

from xlharm.cli import progress
from xlharm.cli.progress import Display
from xlharm.engine.progress import PackLine, Snapshot
from xlharm.report.console import Terminal

PACK = PackLine(label="contaminate de seed 0", slots=3, step=0, steps=0)
START = Snapshot(
    total=20, done=0, running=3, left=17, dead=0, packs_left=5, workers=1, tokens_per_second=None, eta=100.0,
    elapsed=1.0, packs=(PACK,), notes=(),
)  # fmt: skip


def lines(monkeypatch: pytest.MonkeyPatch, *moments: tuple[float, Snapshot]) -> list[str]:
    """Return what is printed of snapshots at these seconds."""
    out = io.StringIO()
    display = Display(Terminal(file=out, width=200), title="g")
    for now, snapshot in moments:
        monkeypatch.setattr(progress.time, "monotonic", lambda now=now: 1000 + now)
        display.update(replace(snapshot, elapsed=now))
    return out.getvalue().splitlines()


def at(step: int) -> Snapshot:
    return replace(START, packs=(replace(PACK, step=step, steps=80),))


def test_what_does_not_change_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [(now / 2, replace(START, eta=100.0 - now / 2)) for now in range(200)]
    assert lines(monkeypatch, *moments) == ["g: 0/20 stages, 3 running, 17 left, ETA 2 min"]


def test_steps_are_said_and_none_before_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines(monkeypatch, (0, START), (5, at(1)), (11, at(4)), (15, at(6)), (22, at(9)))
    assert shown == [
        "g: 0/20 stages, 3 running, 17 left, ETA 2 min",
        "g: 0/20 stages, 3 running, 17 left, contaminate de seed 0 (+2): step 4/80, ETA 2 min",
        "g: 0/20 stages, 3 running, 17 left, contaminate de seed 0 (+2): step 9/80, ETA 2 min",
    ]
    assert not any("0/0" in line for line in shown)


def test_after_some_minutes_steps_alone_are_said_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [(400.0 + now, at(int(now))) for now in range(120)]
    assert len(lines(monkeypatch, *moments)) == 2  # the first, and one a minute
    ended = [(400.0 + now, replace(at(int(now)), done=int(now) // 20)) for now in range(120)]
    assert len(lines(monkeypatch, *ended)) > 5  # stages that end are news


def test_many_packs_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    many = replace(START, packs=tuple(replace(PACK, label=f"p{i}", slots=1, step=i, steps=9) for i in range(5)))
    (line,) = lines(monkeypatch, (0, many))
    assert "p0: step 0/9, p1: step 1/9, p2: step 2/9, 2 more packs" in line


def test_notes_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines(monkeypatch, (0, START), (1, replace(START, notes=("something [red]happened",))))
    assert shown[-1] == "something [red]happened"
