"""What is done, running, failed, stuck behind a failure, and how long the rest takes."""

import json
import os
from pathlib import Path

import pytest

from tests.analysis.worlds import commit_evaluation, commit_training, fill
from tests.engine.worlds import PLAN
from tests.s3 import S3
from xlharm.engine.live import LivePack, LiveRun
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.store.lease import Leases
from xlharm.store.record import Failure, Record
from xlharm.store.store import Store
from xlharm.view.state import Look, Watch


def running(**fields: object) -> LiveRun:
    plain = {
        "grid": PLAN.grid.name, "machine": "m", "pid": 1, "written": 0.0, "total": 1, "done": 0, "running": 1,
        "left": 0, "dead": 0, "workers": 1, "tokens_per_second": None, "eta": None, "pace": None, "elapsed": 0.0,
        "packs": (), "messages": (),
    }  # fmt: skip
    return LiveRun.model_validate({**plain, **fields})


def say(store: Store, leases: Leases, run: LiveRun) -> None:
    store.write_text(f"live/{leases.token}.json", run.model_dump_json())


def square(look: Look, plan: Plan, cell: str, query: str) -> str:
    place = next(i for i, one in enumerate(plan.cells) if one.name == cell)
    return look.squares[place][list(plan.cells[place].evaluations).index(query)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def cells() -> dict[str, Cell]:
    return {cell.name: cell for cell in PLAN.cells}


def test_a_finished_grid_has_its_numbers(plan: Plan, full: Store) -> None:
    watch = Watch(plan, Store(full.url, writes=False))
    look = watch.look()
    while len(look.numbers) < len({k for c in plan.cells for k in c.evaluations.values()}):
        look = watch.look()  # a busy machine reads the records in several looks
    assert look.finished
    assert (look.eta, look.complete) == (0.0, len(plan.cells))
    cell = next(c for c in plan.cells if c.name == "de/none/none/0")
    assert look.numbers[cell.evaluations["de"]].of == 86.0  # German asked in German, of 100
    assert {state for row in look.squares for state in row} == {"done"}


def test_a_half_done_grid(plan: Plan, partial: Store) -> None:
    look = Watch(plan, partial).look()
    assert square(look, plan, "de/en+de/npo/0", "hy") == "waiting"
    assert square(look, plan, "de/en+de/npo/0", "ha") == "done"
    assert not look.finished
    assert (look.done, look.total) == (len(partial.done(plan.stages)), len(plan.stages))
    assert look.counts["evaluate"]["left"] == 1 + sum(len(c.evaluations) for c in plan.cells if c.contaminate == "ur")


def test_running_failed_blocked(store: Store) -> None:
    """Of three contaminated models one is there, one is computed, and one has failed: nothing after it can run."""
    by_name = cells()
    done, held, failed = (by_name[f"{c}/none/none/0"] for c in ("none", "de", "ur"))
    commit_training(store, PLAN.stages[done.lineage[0]])
    stage = PLAN.stages[failed.lineage[0]]
    store.write_failure(
        Failure(key=stage.key, kind=stage.kind, label=stage.label, reason="nan", message="no", final=True,
                failed=Record.now())
    )  # fmt: skip
    with Leases(store) as leases:
        leases.claim(held.lineage[0])
        look = Watch(PLAN, Store(store.url, writes=False)).look()
    paths = {cell.name: path for cell, path in zip(PLAN.cells, look.path, strict=True)}
    assert paths[done.name] == ("done", "waiting")
    assert paths[held.name] == ("running", "waiting")
    assert paths[failed.name] == ("failed", "blocked")
    assert square(look, PLAN, failed.name, "en") == "blocked"
    assert square(look, PLAN, held.name, "en") == "waiting"
    assert look.counts["contaminate"] == {"done": 1, "running": 1, "failed": 1, "left": 0}


def test_runs_say_how_long_the_rest_takes(store: Store) -> None:
    watch = Watch(PLAN, store)
    assert watch.look().origin == "estimate"
    with Leases(store) as one, Leases(store) as two:
        say(store, one, running(eta=30.0))
        assert (watch.look().eta, watch.look().origin) == (30.0, "runs")
        say(store, two, running(eta=60.0))
        assert watch.look().eta == pytest.approx(20.0)  # each says what it would need alone
        say(store, two, running(grid="another", eta=60.0))
        assert [run.grid for run in watch.look().runs] == [PLAN.grid.name]
        key = next(iter(PLAN.stages))[:16]
        pack = LivePack(label="x", slots=1, step=0, steps=0, worker="w", keys=(key,), memory=0)
        say(store, two, running(grid="another name", packs=(pack,)))
        assert len(watch.look().runs) == 2  # it computes stages of this grid
    assert watch.look().runs == ()


def test_a_damaged_record_is_no_number(store: Store) -> None:
    cell = PLAN.cells[0]
    key = cell.evaluations["en"]
    commit_evaluation(store, PLAN.stages[key], of=0.5, qr=0.5, n=4)
    path = store.local / "stages/evaluate" / key[:16] / "record.json"
    record = json.loads(path.read_text())
    record["metrics"]["of"]["hits"] = 4
    path.chmod(0o644)
    path.write_text(json.dumps(record))
    look = Watch(PLAN, store).look()
    assert square(look, PLAN, cell.name, "en") == "damaged"
    assert key not in look.numbers


def test_watching_changes_nothing(plan: Plan, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    fill(plan, store, skip=("ur/",), n=4)
    store.write_text("leases/driver-x", json.dumps({"machine": "elsewhere", "pid": 1, "start": "1", "token": "x"}))
    store.write_text("live/x.json", running(grid=plan.grid.name).model_dump_json())

    def files() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_size)
            for root, _, _ in os.walk(store.local)
            for path in Path(root).iterdir()
        }

    before = files()
    assert len(Watch(plan, Store(store.url, writes=False)).look().runs) == 1
    assert files() == before


def test_a_grid_in_a_bucket(s3: S3) -> None:
    store = Store("s3://bucket/store")
    cell = PLAN.cells[0]
    commit_training(store, PLAN.stages[cell.lineage[0]])
    commit_evaluation(store, PLAN.stages[cell.evaluations["en"]], of=0.25, qr=1.0, n=4)
    with Leases(store) as leases:
        leases.claim(cell.lineage[1])
        say(store, leases, running(eta=30.0))
        s3.requests.clear()
        look = Watch(PLAN, Store("s3://bucket/store", writes=False)).look()
        changing = [path for method, path in s3.requests if method not in {"GET", "HEAD"}]
    assert look.path[0] == ("done", "running")
    assert look.numbers[cell.evaluations["en"]].of == 25.0
    assert (look.eta, [run.grid for run in look.runs]) == (30.0, [PLAN.grid.name])
    assert [path for path in changing if "driver-" not in path] == []  # all but the driver's own heartbeat
