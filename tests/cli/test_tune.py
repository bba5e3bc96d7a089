"""`xlharm tune` as its user runs it: mistakes, real Ray Tune, a kill, the command again, writing back."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.analysis.worlds import commit_evaluation, commit_training
from tests.cli.conftest import Xlharm, command, environment
from tests.faults.processes import ending, until
from xlharm.config.grid import GridSpec
from xlharm.config.load import load_grid
from xlharm.config.search import written
from xlharm.corpus.finding import resolve
from xlharm.plan.build import Plan, build
from xlharm.plan.tuning import Tuning, cells_meant, cut_down
from xlharm.store.ledger import load_search
from xlharm.store.store import Store

GRID = """\
# A search in small.
name: small
base: tiny-base
corpus: tinyworld
languages: [en, de]
contaminate: [de]
unlearn: {none: [], all: [en, source]}
methods:
  npo:   # my favourite
    objective: npo
    forget: qa
    retain: nll
    steps: 6
    learning_rate: 1e-9   # far too low
    batch_size: 4
    retain_batch_size: 4
lora: {rank: 4, alpha: 8}
stages:
  contaminate: {steps: 8, batch_size: 4, learning_rate: 1e-3}
  sft: null
evaluate: {max_new_tokens: 8}
"""
SEARCH = ("--search", "learning_rate=2e-5,5e-3", "--search", "steps=2,6", "--items", "10")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(GRID)
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cell", "de/en"], "no cell of that name unlearns anything; did you mean 'de/en+de/npo'?"),
        (["--search", "rate=1..2"], "npo has no number 'rate'"),
        (["--search", "learning_rate=1..2"], "input should be less than 1, found 1"),
        (["--corpus", "tinyword"], "did you mean 'tinyworld'?"),
        (["-s", "methods.npo.steps=0"], "methods.npo.steps: input should be greater than or equal to 1, found 0"),
        (
            ["--write", "-s", "methods.npo.retain=kl"],
            "methods.npo.retain: differs from -s; write it into the file first",
        ),
        (["--gpus-per-worker", "0"], "--gpus-per-worker 0: expected a number above 0"),
        (["--address", "http://there:8265"], "that is a job server"),
    ],
)
@pytest.mark.slow
def test_a_mistake_is_one_line_and_code_two(
    xlharm_here: Xlharm, grid: Path, arguments: list[str], message: str
) -> None:
    done = xlharm_here("tune", grid, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert grid.read_text() == GRID


@pytest.mark.slow
def test_optuna_is_an_extra(xlharm: Xlharm, grid: Path, tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "optuna.py").write_text("raise ImportError('hidden')\n")
    path = os.pathsep.join([str(tmp_path / "hidden"), environment()["PYTHONPATH"]])
    done = xlharm("tune", grid, "--algorithm", "optuna", PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr == "error: --algorithm optuna: optuna is not installed: pip install 'xlharm[tune]'\n"


def plan_of(spec: GridSpec) -> Plan:
    return build(spec, sources=resolve(spec), dtype="float32")


def commits(store: Path) -> dict[str, float]:
    """When each finished stage was committed."""
    return {str(p.parent): p.stat().st_mtime for p in (store / "stages").glob("*/*/_SUCCESS")}


@pytest.mark.cluster
@pytest.mark.heavy
def test_killed_in_the_middle_taken_up_again_and_written_back(xlharm: Xlharm, grid: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    wanted = ("tune", grid, "--store", store, "--trials", 2, *SEARCH)
    calm = {"OMP_WAIT_POLICY": "passive"}  # threads that spin while others compute cost minutes on a shared machine
    first = subprocess.Popen(
        command(*wanted), env={**environment(), **calm}, cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    with ending(first):
        until(lambda: len(list((store / "stages" / "unlearn").glob("*/_SUCCESS"))) >= 2 or first.poll() is not None)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert first.returncode == -signal.SIGKILL, first.stdout.read()
        second = xlharm(*wanted, "--json", **calm)
    assert second.returncode == 0, second.stderr + second.stdout
    output = json.loads(second.stdout)
    assert output["corpus"] == "tinyworld-dev"
    assert {t["trial"] for t in output["trials"]} == {1, 2}
    assert {t["ended"] for t in output["trials"]} <= {"complete", "stopped"}
    reached = {(t["values"]["learning_rate"], t["values"]["steps"]) for t in output["trials"]}
    assert len(list((store / "stages" / "unlearn").iterdir())) == len(reached)  # each of them once, and no others
    assert grid.read_text() == GRID

    before = commits(store)
    again = xlharm(*wanted, "--write")
    assert again.returncode == 0, again.stderr + again.stdout
    assert "Nothing to run: all 2 trials are in" in again.stdout
    new = grid.read_text()
    assert f"    learning_rate: {written(output['winner']['values']['learning_rate'])}   # far too low\n" in new
    assert new.count("# xlharm tune: best of 2 trials (learning_rate 2e-5,5e-3) of de/en+de/npo, seed 0 on") == 1
    kept = set(GRID.splitlines()) - {"    learning_rate: 1e-9   # far too low", "    steps: 6"}
    assert kept <= set(new.splitlines())

    last = xlharm(*wanted)
    assert last.returncode == 0, last.stderr + last.stdout
    assert "Nothing to run" in last.stdout
    assert "The grid's own values are the best of all trials" in last.stdout
    assert commits(store) == before


@pytest.mark.slow
def test_no_trial_kept_qr(xlharm_here: Xlharm, grid: Path, tmp_path: Path) -> None:
    spec = load_grid(grid)
    cut = cut_down(spec, cells_meant(plan_of(spec), None), corpus="tinyworld-dev", questions=None)
    tuning = Tuning.of(
        cut, sources=resolve(cut), dtype="float32", search=["learning_rate=2e-5,2e-4"], halving=False
    )  # fmt: skip
    store = Store(str(tmp_path / "store"))
    work = load_search(store, tuning, algorithm="random")
    for rate in (2e-5, 2e-4):
        tried = work.ledger.find({"learning_rate": rate})
        tried.reached, tried.ended = 1, "complete"
        plan = tuning.plan(tried.point)
        for stage in plan.stages.values():
            if stage.kind != "evaluate" and not store.has(stage):
                commit_training(store, stage)
        for cell in plan.cells:
            for key in cell.evaluations.values():
                if not store.has(plan.stages[key]):
                    commit_evaluation(store, plan.stages[key], of=0.1, qr=0.9 if cell.unlearn == "none" else 0.5)
    work.save(store)
    wanted = ("tune", grid, "--store", store.url, "--search", "learning_rate=2e-5,2e-4", "--scheduler", "none")
    done = xlharm_here(*wanted, "--trials", 2, "--write", "-s", "dtype=float32")
    assert done.returncode == 1, done.stderr
    assert "Nothing to run: all 2 trials are in" in done.stdout
    assert "No trial kept QR within 20 % of before: nothing is written." in done.stdout
    assert grid.read_text() == GRID
    won = xlharm_here(*wanted, "--trials", 2, "--write", "-s", "dtype=float32", "--max-qr-fall", 50, "--json")
    assert won.returncode == 0, won.stderr
    assert json.loads(won.stdout)["written"] is True
    assert load_grid(grid).methods["npo"].learning_rate == 2e-5
    why = xlharm_here("plan", grid, "--store", store.url, "-s", "corpus=tinyworld-dev", "--why", "de/en+de")
    assert "in the store, nothing to run" in why.stdout


@pytest.mark.slow
def test_planning_a_search_needs_neither_ray_nor_torch() -> None:
    code = (
        "import sys, xlharm.cli.main, xlharm.plan.tuning, xlharm.config.write_back, xlharm.store.ledger;"
        "print([m for m in ('torch', 'ray', 'optuna', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
