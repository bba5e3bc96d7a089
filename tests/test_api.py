"""The Python API on the mini grid: what a notebook does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import xlharm
from tests.engine.worlds import commit
from xlharm import api
from xlharm.api import Grid
from xlharm.engine.progress import Snapshot
from xlharm.errors import UserError
from xlharm.store.store import Store

SMALL = {"contaminate": ["none", "de"], "languages": ["en", "de"], "unlearn": {"none": [], "en": ["en"]}}


@pytest.fixture(scope="module")
def grid_file(mini_grid: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grids") / "mini.yaml"
    with path.open("w", encoding="utf-8") as handle:
        YAML().dump({**mini_grid, **SMALL, "dtype": "float32"}, handle)
    return path


@pytest.fixture(scope="module")
def finished(grid_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Grid, list[Snapshot]]:
    """Run the grid in this process; return it with what was told on the way."""
    seen: list[Snapshot] = []
    grid = xlharm.open(grid_file, store=tmp_path_factory.mktemp("api") / "store")
    outcome = grid.run(executor="in-process", device="cpu", on_progress=seen.append)
    assert (outcome.exit_code, outcome.done) == (0, len(grid.plan().stages))
    return grid, seen


def test_importing_xlharm_is_light() -> None:
    code = (
        "import sys, xlharm; assert 'xlharm.api' not in sys.modules; xlharm.open; xlharm.Grid\n"
        "print([m for m in ('torch', 'ray', 'pandas', 'numpy', 'pyarrow', 'transformers') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = xlharm.nonsense  # type: ignore[attr-defined]  # that it is missing is what is tested


def test_a_grid_is_opened_with_overrides_of_either_form(grid_file: Path, tmp_path: Path) -> None:
    plain = xlharm.open(grid_file, store=tmp_path / "none")
    assert len(plain.plan().cells) == 3
    by_name = xlharm.open(grid_file, store=tmp_path / "none", overrides={"seeds": 2, "methods.npo.beta": 0.5})
    by_text = xlharm.open(str(grid_file), store=str(tmp_path / "none"), overrides=["seeds=2", "methods.npo.beta=0.5"])
    assert by_name.plan().stages.keys() == by_text.plan().stages.keys()
    assert by_name.plan().grid.seeds == (0, 1)
    assert not (tmp_path / "none").exists()  # looking leaves nothing behind
    with pytest.raises(UserError, match="seeds"):
        xlharm.open(grid_file, overrides={"seeds": "many"})


def test_status_counts_what_is_done_and_left(finished: tuple[Grid, list[Snapshot]], grid_file: Path) -> None:
    grid, _ = finished
    status = grid.status()
    assert status.finished
    assert (status.complete, status.cells, status.failures) == (3, 3, {})
    assert status.stages["evaluate"] == {"done": 6, "running": 0, "failed": 0, "left": 0}
    more = xlharm.open(grid_file, store=grid.store.url, overrides={"seeds": 2}).status()
    assert not more.finished
    assert (more.complete, more.cells, more.stages["evaluate"]["left"]) == (3, 6, 6)


def test_results_and_views_are_data_frames(finished: tuple[Grid, list[Snapshot]]) -> None:
    grid, seen = finished
    frame = grid.results()
    assert list(frame["cell"].unique()) == [cell.name for cell in grid.plan().cells]
    assert len(frame) == 6
    assert frame["of"].between(0, 100).all()
    effects = grid.view("effects")
    assert list(effects["query"]) == ["en", "de"]
    assert grid.stored() is grid.stored()  # nothing new is in the store
    assert seen
    with pytest.raises(UserError, match="did you mean 'effects'"):
        grid.view("efects")


def test_answers_have_questions_and_verdicts(finished: tuple[Grid, list[Snapshot]]) -> None:
    grid, _ = finished
    frame = grid.answers("de/en", "de")
    assert {"item", "measure", "question", "answer", "expected", "hit"} <= set(frame.columns)
    counts = grid.results().set_index(["cell", "query"]).loc[("de/en/npo/0", "de")]
    assert len(frame[frame["measure"] == "of"]) == counts["n"]
    assert 100 * frame[frame["measure"] == "of"]["hit"].mean() == pytest.approx(counts["of"], abs=0.01)
    with pytest.raises(UserError, match="expected one of en, de"):
        grid.answers("de/en", "fr")


def test_ask_gives_the_answer_of_the_evaluation(finished: tuple[Grid, list[Snapshot]]) -> None:
    grid, _ = finished
    row = grid.answers("de/none", "en").iloc[0]
    assert grid.ask("de/none", row["question"]) == row["answer"]
    with pytest.raises(UserError, match="no such cell"):
        grid.ask("fr", "Who?")


def test_a_second_run_does_nothing_and_writes_nothing(finished: tuple[Grid, list[Snapshot]], grid_file: Path) -> None:
    grid, _ = finished
    assert json.loads(grid.store.read_text("grids/mini.json"))["dtype"] == "float32"

    def files() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in grid.store.local.rglob("*")}

    before = files()
    again = xlharm.open(grid_file, store=grid.store.url)
    assert again.run(executor="in-process").ran == 0
    assert (again.status().finished, files()) == (True, before)


def test_status_counts_a_damaged_stage_as_left(finished: tuple[Grid, list[Snapshot]], grid_file: Path) -> None:
    grid, _ = finished
    key = next(k for k, stage in grid.plan().stages.items() if stage.kind == "evaluate")
    path = grid.store.local / "stages" / "evaluate" / key[:16] / "record.json"
    content = path.read_text()
    path.write_text(content.replace('"hits":', '"Hits":', 1))
    status = xlharm.open(grid_file, store=grid.store.url).status()
    path.write_text(content)
    assert status.stages["evaluate"] == {"done": 5, "running": 0, "failed": 0, "left": 1}
    assert "record.json does not match" in status.damaged[0]
    assert (status.finished, status.complete) == (False, 2)


def test_what_is_not_there_yet_is_said(grid_file: Path, tmp_path: Path) -> None:
    grid = Grid(xlharm.open(grid_file, store=tmp_path / "none").plan(), Store(str(tmp_path / "empty")))
    assert grid.results().empty
    assert grid.view("effects").empty
    with pytest.raises(UserError, match="not in the store"):
        grid.answers("de/en", "de")
    with pytest.raises(UserError, match="not in the store yet"):
        grid.ask("de/en", "Who?")


@pytest.mark.parametrize(("gpu", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_auto_precision_follows_the_machine_until_the_store_has_stages(
    grid_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool, dtype: str
) -> None:
    monkeypatch.setattr(api, "has_gpu", lambda: gpu)
    store = Store(str(tmp_path / "store"))

    def opened(**overrides: Any) -> str:
        return xlharm.open(grid_file, store=store.url, overrides=overrides).plan().dtype

    assert opened(dtype="auto") == dtype
    assert opened(dtype="bfloat16") == "bfloat16"
    store.write_text("grids/mini.json", '{"dtype": "bfloat16"}')
    assert opened(dtype="auto") == dtype  # a note decides nothing
    for other, stages in (("bfloat16", 1), ("float32", 2)):
        plan = xlharm.open(grid_file, store=store.url, overrides={"dtype": other}).plan()
        for stage in list(plan.stages.values())[:stages]:
            commit(store, stage)
        assert opened(dtype="auto") == other
