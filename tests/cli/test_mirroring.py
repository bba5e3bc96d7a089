"""`xlharm wandb` and `run --wandb` against a W&B server on this machine."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.cli.conftest import Xlharm
from tests.tracking.conftest import KEY, small
from tests.tracking.server import WandbServer, wandb_server
from xlharm.api import Grid
from xlharm.cli.common import Session
from xlharm.cli.running import _mirrored
from xlharm.errors import StoreError
from xlharm.plan.build import Plan
from xlharm.store.store import Store
from xlharm.tracking.live import Live

__all__ = ["small"]

CELLS = ("-s", "contaminate=[de]", "-s", "unlearn={none: [], en: [en]}", "-s", "languages=[en, de]", "-s", "exclude=[]")
RUN = (*CELLS, "--executor", "in-process", "--device", "cpu")


@pytest.fixture
def wandb() -> Iterator[WandbServer]:
    with wandb_server() as server:
        yield server


def login(wandb: WandbServer, home: Path) -> dict[str, str]:
    return {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": wandb.url, "WANDB_CONFIG_DIR": str(home), "HOME": str(home)}


@pytest.mark.heavy  # a run and W&B's own process; the tiny form is below
def test_a_run_is_mirrored_while_it_runs_and_then_compared(
    wandb: WandbServer, xlharm: Xlharm, grid_file: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    done = xlharm("run", grid_file, *RUN, "--wandb", "online", "--report", page, **login(wandb, tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Sending what is left to W&B, for at most 10 min" in done.stdout
    assert "not sent" not in done.stdout + done.stderr
    grid, *cells = sorted(wandb.runs.values(), key=lambda run: len(run.history[-1]), reverse=True)
    assert {"results", "heatmap", "curves"} <= {*grid.summary}
    assert len(cells) == 2
    assert sorted(line["_step"] for run in cells for line in run.history) == sorted([*range(9), *range(15)])
    assert all({"of_lo/de", "refusal/en", "seconds/sft", "answers"} <= {*run.summary} for run in cells)
    losses = {name for line in cells[0].history for name in line} | {name for line in cells[1].history for name in line}
    assert {"forget_nll/unlearn", "retain_nll/unlearn"} <= losses
    types = {given["input"]["artifactTypeName"] for given in wandb.artifacts}
    assert {"model", "dataset", "report", "run_table"} <= types
    assert KEY not in done.stdout + done.stderr + (tmp_path / "wandb" / "xlharm-live.log").read_text()

    started = len(wandb.started)
    made = xlharm("wandb", "dashboard", grid_file, *CELLS, **login(wandb, tmp_path))
    assert made.returncode == 0, made.stderr
    workspace, report = made.stdout.splitlines()
    assert workspace.startswith(f"workspace: {wandb.url}/someone/xlharm?nw=")
    assert report.startswith(f"report: {wandb.url}/someone/xlharm/reports/xlharm-mini--")
    assert len(wandb.views) == 2
    assert len({*wandb.started[started:]}) == 1  # all was there, but this command does not name the page


@pytest.mark.heavy  # likewise
def test_a_run_does_not_depend_on_wandb(wandb: WandbServer, xlharm: Xlharm, grid_file: Path, tmp_path: Path) -> None:
    wandb.stream = 404
    done = xlharm("run", grid_file, *RUN, "--wandb", "online", **login(wandb, tmp_path))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("W&B: ")]
    command = line.removeprefix("W&B: 3 of 3 runs are not sent; send them with: ")
    assert command.startswith(f"xlharm wandb sync {grid_file} --store {tmp_path / 'store'} -s 'contaminate=[de]' -s ")
    wandb.stream = 200
    sent = xlharm("wandb", "sync", grid_file, *CELLS, **login(wandb, tmp_path))
    assert sent.returncode == 0, sent.stderr
    assert len(sent.stdout.splitlines()) == 3
    assert sorted(len(run.history) for run in wandb.runs.values()) == [1, 9, 15]


def test_what_needs_wandb_itself_says_so(xlharm_here: Xlharm, grid_file: Path) -> None:
    for command, start in (
        (("dashboard", grid_file), "dashboards need W&B itself: log in with `wandb login`"),
        (("sync", grid_file, "--follow"), "--follow needs W&B itself: log in with `wandb login`"),
        (("dashboard", grid_file, grid_file), "grid mini: two of the grids have this name"),
        (("dashboard", grid_file, "--name", "a/b"), "--name a/b: expected up to 128 letters"),
    ):
        done = xlharm_here("wandb", *command, WANDB_MODE="offline")
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(f"error: {start}")


def test_a_project_that_wandb_does_not_allow_stops_a_run_before_it_starts(
    xlharm_here: Xlharm, grid_file: Path, tmp_path: Path
) -> None:
    done = xlharm_here("run", grid_file, *RUN, "--wandb", "offline", WANDB_PROJECT="a/b")
    assert done.returncode == 2
    assert "error: --project a/b: Invalid project name" in done.stderr
    assert not (tmp_path / "store" / "stages").exists()


@pytest.mark.parametrize(("code", "said"), [(0, False), (1, True)])
def test_a_run_says_once_what_the_process_beside_it_has_not_sent(
    small: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: bool
) -> None:
    beside = f"import sys; print(sys.argv[1:]); sys.stdin.read(); sys.exit({code})"
    monkeypatch.setattr("xlharm.tracking.live.FOLLOW", (sys.executable, "-S", "-c", beside))
    monkeypatch.setattr("xlharm.tracking.wandb._logged_in", lambda: True)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.chdir(tmp_path)
    plan, store = small
    told = Console(file=io.StringIO(), width=300)
    session, grid = Session(Grid(plan, store)), Path("my grid.yaml")
    with _mirrored(session, "online", grid=grid, overrides=["seeds=1"], report=None, console=told) as mirror:
        assert mirror.at_end == "off"
        mirror.seconds = 60
    log = (tmp_path / "wandb" / "xlharm-live.log").read_text()
    assert log.strip() == str(["my grid.yaml", "--store", store.url, "-s", "seeds=1", "--follow"])
    shown = told.file.getvalue()
    line = "W&B: 7 of 7 runs are not sent; send them with: xlharm wandb sync 'my grid.yaml' --store"
    assert (line in shown) is said
    assert shown.count("W&B: ") == said


def test_a_run_that_fails_ends_the_process_beside_it(
    small: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xlharm.tracking.live.FOLLOW", (sys.executable, "-S", "-c", "import time; time.sleep(600)"))
    monkeypatch.setattr("xlharm.tracking.wandb._logged_in", lambda: True)
    monkeypatch.setattr("xlharm.cli.running._WANDB_SECONDS_STOPPED", 0.0)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.chdir(tmp_path)
    started: list[Live] = []
    monkeypatch.setattr("xlharm.tracking.live.Live", lambda *a, **k: started.append(Live(*a, **k)) or started[0])
    told = Console(file=io.StringIO())
    with (
        pytest.raises(StoreError, match="gone"),
        _mirrored(Session(Grid(*small)), "online", grid=Path("g"), overrides=None, report=None, console=told),
    ):
        raise StoreError("gone")
    assert started[0]._process.returncode == -9
    assert told.file.getvalue() == ""
