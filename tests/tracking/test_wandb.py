"""Real offline runs, read back from their own files."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.worlds import commit_training, fill, plan_of
from tests.tracking.conftest import KEY
from tests.tracking.server import WandbServer
from xlharm.analysis.results import GridResults
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.store.store import Store
from xlharm.tracking.wandb import follow, sync, unsent

pytestmark = pytest.mark.slow

BLOCK, HEADER = 32768, 7


def curves(server: WandbServer) -> list[int]:
    """Return the number of points of each cell's curve; the first run is the grid's and has tables."""
    return [len(run.history) for run in list(server.runs.values())[1:]]


def records(folder: Path) -> list[Any]:
    """Read a `.wandb` file: LevelDB's log format after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    data, at, pieces, found = path.read_bytes(), HEADER, b"", []
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        pieces += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last piece
            found.append(Record.FromString(pieces))
            pieces = b""
    return found


def summary_of(folder: Path) -> dict[str, Any]:
    by_name: dict[str, Any] = {}
    for record in records(folder):
        for item in record.summary.update:
            by_name[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return by_name


def tables(folder: Path) -> dict[str, Any]:
    return {p.name.split("_")[0]: json.loads(p.read_text()) for p in folder.glob("files/media/table/*.table.json")}


def test_offline_runs_hold_tables_settings_numbers_and_losses(small: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = small
    grid, *cells = sync(GridResults(plan, store), mode="offline", folder=tmp_path)
    assert all(p.parent == tmp_path / "wandb" and p.name.startswith("offline-run-") for p in (grid, *cells))
    assert len(cells) == len(plan.cells)
    logged = tables(grid)
    assert logged["results"]["columns"][:3] == ["grid", "cell", "contaminate"]
    assert len(logged["results"]["data"]) == 2 * len(plan.cells)
    assert logged["of"]["columns"] == ["grid", "contaminate", "unlearn", "method", "seed", "en", "ur"]
    assert ["quickstart", "ur", "none", "none", 0, 55.0, 85.0] in logged["of"]["data"]
    lines = records(cells[-1])
    run = next(r.run for r in lines if r.HasField("run"))
    assert (run.display_name, run.job_type, run.project) == ("ur/en+ur/npo/0", "cell", "xlharm")
    assert run.run_group.startswith("quickstart-")
    assert summary_of(cells[-1])["of/mean"] == 5.0
    assert sum(r.HasField("history") for r in lines) == 15
    config = {i.key: json.loads(i.value_json) for r in lines if r.HasField("config") for i in r.config.update}
    config |= {i.key: json.loads(i.value_json) for i in run.config.update}
    assert config["unlearn"] == "en+ur"


def test_a_second_sync_replaces_the_first(small: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = small
    before = sync(GridResults(plan, store), mode="offline", folder=tmp_path)
    after = sync(GridResults(plan, store), mode="offline", folder=tmp_path)
    ids = [path.name.rsplit("-", 1)[1] for path in before]
    assert [path.name.rsplit("-", 1)[1] for path in after] == ids
    assert sorted((tmp_path / "wandb").glob("offline-run-*")) == sorted(after)


def test_online_without_a_login_is_offline_and_asks_nothing(small: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = small
    assert all("offline-run" in path.name for path in sync(GridResults(plan, store), mode="online", folder=tmp_path))


def test_off_writes_nothing(small: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = small
    assert sync(GridResults(plan, store), mode="off", folder=tmp_path / "none") == []
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert sync(GridResults(plan, store), mode="online", folder=tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_wrong_input_is_one_line(small: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = small
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="expected online, offline or off"):
        sync(GridResults(plan, store), mode="onlin", folder=tmp_path)
    with pytest.raises(UserError, match="cannot be made"):
        sync(GridResults(plan, store), mode="offline", folder=tmp_path / "file" / "x")


def test_a_server_that_does_not_answer_means_offline(
    small: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("xlharm.tracking.writing.START_SECONDS", 2)
    monkeypatch.setattr("xlharm.tracking.wandb._logged_in", lambda: True)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    plan, store = small
    with caplog.at_level(logging.WARNING):
        folders = sync(GridResults(plan, store), mode="online", folder=tmp_path)
    assert len(folders) == 1 + len(plan.cells)
    assert all("offline-run" in path.name for path in folders)
    assert "0 runs were sent, 7 are written offline" in caplog.text
    assert KEY not in caplog.text


def test_what_is_sent_arrives_once(server: WandbServer, small: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = small
    assert len(sync(GridResults(plan, store), folder=tmp_path)) == 1 + len(plan.cells)
    assert curves(server) == [10, 15, 10, 15, 15, 15]
    assert {run.project for run in server.runs.values()} == {"xlharm"}
    started = len(server.started)
    assert sync(GridResults(plan, store), folder=tmp_path) == []
    assert len(server.started) == started
    (tmp_path / "wandb" / "xlharm-sent.jsonl").unlink()  # nothing is remembered: all is sent, nothing is doubled
    assert len(sync(GridResults(plan, store), folder=tmp_path)) == 1 + len(plan.cells)
    assert curves(server) == [10, 15, 10, 15, 15, 15]


def test_a_sync_after_more_stages_adds_their_points(
    server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(languages=["en", "ur"], contaminate=["ur"])
    store = Store(str(tmp_path / "store"))
    for stage in plan.stages.values():
        if stage.kind in ("contaminate", "sft"):
            commit_training(store, stage)
    sync(GridResults(plan, store), folder=tmp_path)
    assert curves(server) == [10] * len(plan.cells)
    fill(plan, store, n=20)
    monkeypatch.setenv("WANDB_PROJECT", "another")
    assert len(sync(GridResults(plan, store), folder=tmp_path, project="xlharm")) == 1 + len(plan.cells)
    assert curves(server) == [10, 15, 15, 15]
    steps = [line["_step"] for run in list(server.runs.values())[1:] for line in run.history]
    assert steps == [*range(10), *range(15), *range(15), *range(15)]


@pytest.mark.slow  # each waits for one time-out
@pytest.mark.parametrize("failure", [(500, "TimeoutError"), (0, "TimeoutError"), (404, "NotSentError")])
def test_a_file_stream_that_fails_costs_one_warning(
    server: WandbServer,
    small: tuple[Plan, Store],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    failure: tuple[int, str],
) -> None:
    plan, store = small
    (server.stream, kind), server.stream_limit = failure, 21
    folders = sync(GridResults(plan, store), folder=tmp_path)
    assert [path.name.startswith("offline-run-") for path in folders] == [False] * 2 + [True] * 5
    assert sorted(path.name for path in (tmp_path / "wandb").glob("*run-*")) == sorted(p.name for p in folders)
    assert len(set(server.started)) == 3  # the others were not tried
    (warning,) = [line for line in caplog.messages if "W&B does not take" in line]
    assert f"({kind}): 2 runs were sent, 5 are written offline" in warning
    server.stream = 200
    assert len(sync(GridResults(plan, store), folder=tmp_path)) == 5
    assert curves(server) == [10, 15, 10, 15, 15, 15]
    assert not list((tmp_path / "wandb").glob("offline-run-*"))


@pytest.mark.slow  # W&B's core asks several times before it gives up
def test_too_many_requests_are_waited_for(
    server: WandbServer, small: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    plan, store = small
    server.free_starts = 3
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        server.free_starts = None

    monkeypatch.setattr("xlharm.tracking.wandb.time.sleep", wait)
    folders = sync(GridResults(plan, store), folder=tmp_path)
    assert not any(path.name.startswith("offline") for path in folders)
    assert server.refused
    assert waits == [0.0]
    assert curves(server) == [10, 15, 10, 15, 15, 15]
    assert [line for line in caplog.messages if "asks for fewer requests" in line]


def test_project_and_entity(
    server: WandbServer, small: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = small
    monkeypatch.setenv("WANDB_PROJECT", "from-the-environment")
    sync(GridResults(plan, store), folder=tmp_path)
    assert {run.project for run in server.runs.values()} == {"from-the-environment"}
    assert {run.entity for run in server.runs.values()} == {None}  # the account's own
    server.runs.clear()
    monkeypatch.setenv("WANDB_ENTITY", "team-of-the-environment")
    sync(GridResults(plan, store), folder=tmp_path, project="named", cells=False)
    assert {(run.project, run.entity) for run in server.runs.values()} == {("named", "team-of-the-environment")}
    server.runs.clear()
    sync(GridResults(plan, store), folder=tmp_path, project="named", entity="team", cells=False)
    assert {(run.project, run.entity) for run in server.runs.values()} == {("named", "team")}
    with pytest.raises(UserError, match="--project a/b: Invalid project name 'a/b'"):
        sync(GridResults(plan, store), folder=tmp_path, project="a/b")


def test_a_store_is_followed_while_it_fills(server: WandbServer, tmp_path: Path) -> None:
    plan = plan_of(languages=["en", "ur"], contaminate=["ur"], unlearn={"none": [], "en": ["en"]})
    store = Store(str(tmp_path / "store"))
    training = [stage for stage in plan.stages.values() if stage.kind != "evaluate"]
    points: list[list[int]] = []
    pauses: list[float] = []

    def ended(seconds: float) -> bool:
        """In each pause, note what W&B has, and finish one more stage; at last all."""
        if seconds == 0:
            return False
        pauses.append(seconds)
        points.append(sorted(len(run.history) for run in server.runs.values()))
        if len(points) in (3, 5):  # W&B is out of order for two looks
            server.stream, server.stream_limit = (404, server.taken) if len(points) == 3 else (200, None)
        if training:
            commit_training(store, training.pop(0))
        else:
            fill(plan, store, n=20)
        return False

    assert follow(lambda: GridResults(plan, store), ended=ended, folder=tmp_path) == 0
    assert points == [[1], [1, 5, 5], [1, 10, 10], [1, 10, 10], [1, 10, 10]]
    assert pauses == [30, 30, 30, 60, 120]
    assert sorted(len(run.history) for run in server.runs.values()) == [2, 10, 15]
    assert unsent(GridResults(plan, store), folder=tmp_path) == (0, 3)
    assert not list((tmp_path / "wandb").glob("offline-run-*"))
    assert len(list((tmp_path / "wandb").glob("run-*"))) == 3  # one folder for each run, however often it was sent


def test_what_is_over_is_sent_once_more_and_what_is_left_is_counted(
    server: WandbServer, small: tuple[Plan, Store], tmp_path: Path
) -> None:
    plan, store = small
    server.stream, server.stream_limit = 404, 21
    assert unsent(GridResults(plan, store), folder=tmp_path) == (7, 7)
    left = follow(lambda: GridResults(plan, store), ended=lambda _: True, folder=tmp_path)
    assert left == unsent(GridResults(plan, store), folder=tmp_path)[0] == 6
    assert not list((tmp_path / "wandb").glob("offline-run-*"))


def test_no_key_is_printed_or_written(small: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = small
    code = (
        "from tests.analysis.worlds import plan_of, Store\n"
        "from pathlib import Path\n"
        "from xlharm.analysis.results import GridResults\n"
        "from xlharm.tracking.wandb import sync\n"
        "plan = plan_of(languages=['en', 'ur'], contaminate=['none', 'ur'])\n"
        f"sync(GridResults(plan, Store({store.url!r})), mode='offline', folder=Path({str(tmp_path)!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "WANDB_API_KEY": KEY}, capture_output=True, text=True,
        check=True, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    assert KEY not in done.stdout + done.stderr
    files = [p for p in (tmp_path / "wandb").rglob("*") if p.is_file()]
    assert files
    assert not any(KEY.encode() in p.read_bytes() for p in files)
