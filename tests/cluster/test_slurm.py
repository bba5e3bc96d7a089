"""The Slurm script on a real Slurm: two nodes, a time limit's warning in the middle, and a turn that finishes."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cli.conftest import environment
from tests.cluster import slurm as local

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm" / "xlharm.sbatch"
TESTING = ("--cpus-per-task=1", "--gpus-per-node=0", "--mem=0", "--time=10")
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(local.missing()), reason=f"Slurm is not installed here: {', '.join(local.missing())}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="one user's jobs on two node daemons need root here"),
]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[local.Slurm]:
    programs = tmp_path / "bin"  # what a virtual environment that has xlharm offers
    programs.mkdir()
    (programs / "xlharm").write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from xlharm.cli.main import main; main()' \"$@\"\n"
    )
    (programs / "xlharm").chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    with local.running(tmp_path / "slurm", {**environment(), "PATH": path, "XLHARM_ACTIVATE": ""}) as slurm:
        yield slurm


@pytest.fixture
def grid_file(tmp_path: Path, mini_grid: dict[str, Any]) -> Path:
    grid = {**mini_grid, "contaminate": ["de", "ur"]}
    grid["stages"] = {**grid["stages"], "contaminate": {**grid["stages"]["contaminate"], "steps": 150}}
    path = tmp_path / "mini.yaml"
    YAML(typ="safe").dump({k: v for k, v in grid.items() if k != "exclude"}, path)
    return path


def test_a_job_warned_of_its_time_limit_is_queued_again_and_finishes(
    cluster: local.Slurm, grid_file: Path, tmp_path: Path
) -> None:
    store, log = tmp_path / "store", tmp_path / "job.log"
    number = _submit(cluster, grid_file, store=store, log=log)
    _until(lambda: len(_commits(store)) >= 2 or cluster.job(number)["JobState"] == "FAILED", log)
    before = _commits(store)
    cluster.call("scancel", "--batch", "--signal=USR1", number)  # what --signal=B:USR1@120 sends
    _until(lambda: cluster.job(number)["Restarts"] == "1", log)
    stopped = _commits(store)
    assert before.keys() <= stopped.keys()
    assert "is queued again" in log.read_text()
    assert "go on with" in log.read_text(), "the run was not stopped cleanly"

    # Slurm lets a requeued job wait for minutes; within the second of its end it would not be launched at all
    # ("Job credential revoked").
    cluster.call("scontrol", "update", f"JobId={number}", "StartTime=now+3seconds")
    _until(lambda: cluster.job(number)["JobState"] in {"COMPLETED", "FAILED"}, log)
    assert cluster.job(number)["JobState"] == "COMPLETED", log.read_text()[-3000:]
    after = _commits(store)
    assert {k: after[k] for k in stopped} == stopped, "a finished stage was computed again"
    assert log.read_text().count("is queued again") == 1
    _until(lambda: not (Path(tempfile.gettempdir()) / f"ray-{os.getuid()}-{number}").exists(), log, seconds=30)

    again = tmp_path / "again.log"
    number = _submit(cluster, grid_file, store=store, log=again)
    _until(lambda: cluster.job(number)["JobState"] in {"COMPLETED", "FAILED"}, again)
    assert "Nothing to do" in again.read_text()
    assert _commits(store) == after


def test_a_mistake_in_the_grid_fails_the_job_and_is_not_queued_again(
    cluster: local.Slurm, grid_file: Path, tmp_path: Path
) -> None:
    grid_file.write_text(grid_file.read_text().replace("contaminate: [de, ur]", "contaminate: [de, xx]"))
    log = tmp_path / "job.log"
    number = _submit(cluster, grid_file, store=tmp_path / "store", log=log)
    _until(lambda: cluster.job(number)["JobState"] in {"COMPLETED", "FAILED"}, log)
    job = cluster.job(number)
    assert (job["JobState"], job["ExitCode"], job["Restarts"]) == ("FAILED", "2:0", "0"), log.read_text()[-2000:]
    assert "xx" in log.read_text()


def _submit(cluster: local.Slurm, grid: Path, *, store: Path, log: Path) -> str:
    shutil.copy(SCRIPT, log.parent / "xlharm.sbatch")
    output = cluster.call(
        "sbatch", "--parsable", *TESTING, f"--output={log}", f"--chdir={log.parent}", str(log.parent / "xlharm.sbatch"),
        str(grid), "--store", str(store), "--pack", "2",
    )  # fmt: skip
    return output.strip()


def _commits(store: Path) -> dict[str, float]:
    return {str(p.parent): p.stat().st_mtime for p in (store / "stages").glob("*/*/_SUCCESS")}


def _until(happened: Any, log: Path, *, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, log.read_text()[-4000:] if log.exists() else "the job did not start"
        time.sleep(0.3)
