"""A grid whose results live in a bucket, through the command line."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tests.cli.conftest import Xlharm
from tests.conftest import plan_of
from tests.faults import processes
from tests.faults.processes import ending, finished, until
from tests.s3 import S3, SECRET
from xlharm.analysis.results import GridResults
from xlharm.analysis.table import render
from xlharm.cli.main import app
from xlharm.plan.build import Plan
from xlharm.store.store import RECORD, SUCCESS, Store

pytestmark = pytest.mark.slow

URL = "s3://bucket/some/store"


def commits(s3: S3) -> list[str]:
    """What was committed, in order."""
    return [path for method, path in s3.requests if method == "PUT" and path.endswith(f"/{SUCCESS}")]


def artefacts(store: Store, plan: Plan) -> dict[tuple[str, str], bytes]:
    """All that was computed; records also say where and when."""
    folders = {key: store.path(stage.kind, key) for key, stage in plan.stages.items()}
    files = {(key, path.name): path.read_bytes() for key, folder in folders.items() for path in folder.iterdir()}
    return {(key, name): content for (key, name), content in files.items() if name not in {RECORD, SUCCESS}}


def told(*arguments: object) -> str:
    """Run a command that starts no Ray in this process, and return what it printed."""
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.cluster
@pytest.mark.heavy
def test_run_kill_run_again_and_look(s3: S3, mini_grid: dict[str, Any], tmp_path: Path) -> None:
    few = {**mini_grid, "contaminate": ["de"], "exclude": [], "languages": ["en", "de"]}
    small, grid, store = tmp_path / "small.yaml", tmp_path / "mini.yaml", ("--store", URL)
    YAML(typ="safe").dump({**few, "unlearn": {"none": []}}, small)
    YAML(typ="safe").dump({**few, "unlearn": {"none": [], "en": ["en"]}}, grid)
    plan = plan_of(YAML(typ="safe").load(grid))  # in the file's order

    def run(where: object, *more: object) -> Any:
        return processes.xlharm("run", *map(str, (grid, "--store", where, *more)), OMP_NUM_THREADS="1")

    calm, killed = run(tmp_path / "calm"), run(URL)
    with ending(calm, killed):
        until(lambda: len(commits(s3)) >= 2)
        killed.kill()
        assert finished(calm)[0] == 0
    assert "running" not in told("status", grid, *store)  # nobody holds what the dead driver held
    before = len(commits(s3))
    assert 2 <= before < len(plan.stages)
    with ending(again := run(URL, "--report", tmp_path / "report.html")):
        code, output = finished(again)
    assert code == 0, output
    assert f"Ran {len(plan.stages) - before} stages" in output
    assert len(commits(s3)) == len(set(commits(s3))) == len(plan.stages)

    quiet = Store(str(tmp_path / "calm"))
    table = told("results", grid, *store, "--format", "csv")
    assert table == render(GridResults(plan, quiet).table, form="csv").decode()
    assert table.count("\n") == 1 + 2 * 2
    assert artefacts(Store(URL), plan) == artefacts(quiet, plan)

    s3.requests.clear()
    output += told("results", grid, *store)
    # whether anything is there; four kinds, for the precision and for the results; failures: thrice
    assert s3.counted() == {"LIST": 11, "HEAD": 1}
    output += told("status", grid, *store) + told("plan", grid, *store) + told("ask", grid, "de/en", "Kabo?", *store)
    assert "2 of 2 cells are complete" in output
    mirrored = told("wandb", "sync", grid, *store, "--mode", "offline", "--folder", tmp_path)
    assert len(mirrored.splitlines()) == 1 + 2
    assert "Would remove (use --yes) 3 folders" in told("gc", small, *store)
    assert "Removed 3 folders" in told("gc", small, *store, "--yes")
    assert len(Store(URL).done(plan.stages)) == len(plan.stages) - 3

    seen = [output.encode(), *(entry.value for entry in s3.objects.values())]
    seen += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in content for content in seen)


def test_an_outage_is_one_line(s3: S3, xlharm: Xlharm, grid_file: Path) -> None:
    s3.broken = "/leases/"
    stopped = xlharm("run", grid_file, "--store", URL)
    assert stopped.returncode == 1, stopped.stdout
    assert stopped.stderr.startswith(f"error: --store {URL}: ")
    assert stopped.stderr.count("\n") == 1
