"""The map at the terminal fits it, shows what happens, and says the state in one line."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.worlds import PLAN
from tests.view.test_state import running
from xlharm.engine.live import LivePack
from xlharm.plan.build import Plan
from xlharm.report.console import Terminal
from xlharm.store.record import Failure, Record
from xlharm.store.store import Store
from xlharm.view.state import Look, Watch
from xlharm.view.terminal import drawn, line, span


@pytest.fixture
def look(tmp_path: Path) -> Look:
    return Watch(PLAN, Store(str(tmp_path / "store"))).look()


def shown(plan: Plan, look: Look, *, height: int = 60) -> list[str]:
    console = Terminal(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(drawn(plan, look, height=height))
    return [text.rstrip() for text in capture.get().splitlines()]


def test_a_finished_map(plan: Plan, full: Store) -> None:
    watch = Watch(plan, full)
    watch.look()
    lines = shown(plan, watch.look())
    row = next(text for text in lines if text.startswith("de/none/none/0"))
    assert row.split()[1:] == ["■■", "55", "86", "38", "38", "38", "19", "19", "19", "19"]
    assert "all done" in lines[1]


def test_what_happens_is_shown(look: Look) -> None:
    squares = (("done", "running"), ("failed", "blocked"), *look.squares[2:])
    pack = LivePack(label="unlearn x", slots=2, step=3, steps=9, worker="w0", keys=(), memory=3 << 30)
    failure = Failure(key="k", kind="sft", label="sft \x1b[31m", reason="nan", message="no", final=True,
                      failed=Record.now())  # fmt: skip
    run = running(packs=(pack,), tokens_per_second=1234.0, eta=90.0, pace=1.25)
    busy = replace(look, squares=squares, runs=(run,), failures={"k": failure}, eta=90.0, origin="runs")
    lines = shown(PLAN, busy)
    assert [text.split()[2:] for text in lines[3:5]] == [["■", "▸"], ["✕", "/"]]
    assert "w0: unlearn x and 1 more: step 3 of 9, 3.0 GiB" in lines
    assert "failed: sft <U+001B>[31m: nan: no" in lines
    assert line(busy) == (
        f"0 of {len(PLAN.stages)} stages done, 1,234 tokens/s, ends in 2 min (stages so far took 1.25 × the estimate)"
    )
    assert "step" not in line(busy)


def test_many_cells_fit_the_terminal(look: Look) -> None:
    cells = tuple(replace(PLAN.cells[0], seed=i) for i in range(500))
    plan = replace(PLAN, cells=cells)
    waiting = ("waiting", "waiting")
    squares = tuple(("running", "waiting") if i == 321 else waiting for i in range(500))
    many = replace(look, squares=squares, path=(waiting,) * 500)
    lines = shown(plan, many, height=24)
    assert len(lines) <= 24
    assert any(text.startswith(cells[321].name) for text in lines)  # where something happens
    assert any("482 more cells: 964 waiting" in text for text in lines)


def test_no_run_is_said(look: Look) -> None:
    assert "no run is going on; the rest would take" in line(replace(look, eta=7200.0, origin="estimate", runs=()))
    assert line(replace(look, runs=(running(),))).endswith("workers are starting")
    assert line(replace(look, eta=None, origin="none", runs=())) == f"0 of {len(PLAN.stages)} stages done"


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (90, "2 min"), (5400, "1.5 h"), (200_000, "2.3 days")])
def test_durations(seconds: float, text: str) -> None:
    assert span(seconds) == text
