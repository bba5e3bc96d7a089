"""The tutorials do what they say: their commands are taken from the pages and run, one after another.

Blocks of `sh` and `python` run in order, in one shell; a block whose first line names a file (```csv NAME) is written
to it. What a page takes as given (a grid that was run, an endpoint, a cluster) is made here.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import xlharm
from tests.analysis.worlds import fill
from tests.cli.conftest import environment
from tests.corpus.translate.worlds import spoken
from tests.remote.server import ChatServer, completion, serving
from xlharm.store.store import Store

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script(page: Path) -> str:
    """Return a page's blocks as one shell script."""
    lines = ["set -e"]
    for kind, name, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        match kind:
            case "sh":
                lines.append(text)
            case "python":
                lines.append(f"python - <<'END'\n{text}END\n")
            case _ if name:
                lines.append(f"cat > {name} <<'END'\n{text}END\n")
            case _:
                raise AssertionError(f"{page.name}: what is done with a block of {kind}?")
    return "\n".join(lines)


def walk(name: str, folder: Path, **variables: str) -> str:
    """Run a tutorial in a folder; return what it printed."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for program, code in (("xlharm", " -c 'from xlharm.cli.main import main; main()'"), ("python", "")):
        (programs / program).write_text(f'#!/bin/sh\nexec {sys.executable}{code} "$@"\n')
        (programs / program).chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script(TUTORIALS / f"{name}.md")], cwd=folder, env={**environment(), "PATH": path, **variables},
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def filled(grid: Path, store: Path, *, n: int = 10) -> None:
    """Fill a store as if the grid had been run."""
    fill(xlharm.open(grid, store=store).plan(), Store(str(store)), n=n)


def test_every_tutorial_is_in_the_navigation_and_is_run_by_a_test() -> None:
    pages = sorted(page.stem for page in TUTORIALS.glob("*.md"))
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page for page in pages if f"tutorials/{page}.md" not in navigation] == []
    tests = Path(__file__).read_text(encoding="utf-8") + (ROOT / "tests/cli/test_submit.py").read_text("utf-8")
    assert [page for page in pages if f'walk("{page}"' not in tests] == []


@pytest.mark.heavy
def test_a_linguist_reads_findings_and_takes_a_figure_into_a_paper(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "grid").symlink_to(ROOT / "grid")
    filled(ROOT / "grid/quickstart.yaml", tmp_path / "store")
    shown = walk("reader", tmp_path)
    assert "9 of 9 cells are complete" in shown
    assert "cannot be decided" in shown
    assert (tmp_path / "paper/figures/of-before.pdf").read_bytes().startswith(b"%PDF")


@pytest.fixture
def endpoint() -> Iterator[ChatServer]:
    with serving(lambda request, _headers: completion(spoken(request))) as running:
        yield running


@pytest.mark.heavy
def test_a_student_brings_a_csv_translates_it_and_compares_two_methods(tmp_path: Path, endpoint: ChatServer) -> None:
    shown = walk("own-csv", tmp_path, ENDPOINT=endpoint.url)
    assert "trained as fake:   'Lina rides a camel." in shown
    assert "rides/grid.yaml: written anew, with all languages of the corpus" in shown
    assert "exit code 0" in shown
    table = shown[shown.index("exit code 0") :]
    assert {"npo", "ga"} <= set(table.split())
    assert re.search(r"ru +OF +3 ", table) or re.search(r"OF +3 ", table), table  # three seeds, paired


@pytest.mark.heavy
def test_two_grids_are_compared(tmp_path: Path) -> None:
    text = (ROOT / "grid/quickstart.yaml").read_text(encoding="utf-8")
    for name, store, n in (("llama", "store", 10), ("bloom", "other-store", 8)):
        grid = tmp_path / f"{name}.yaml"
        grid.write_text(re.sub(r"^name: .*$", f"name: {name}", text, flags=re.MULTILINE), encoding="utf-8")
        filled(grid, tmp_path / store, n=n)
    shown = walk("two-grids", tmp_path)
    assert "Findings over all contamination languages" in shown
    assert (tmp_path / "places.csv").read_text(encoding="utf-8").startswith("first_grid,") or "OF" in (
        tmp_path / "places.csv"
    ).read_text(encoding="utf-8")


@pytest.mark.heavy
def test_a_large_grid_is_read(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    shown = walk("large", tmp_path)
    assert "200 answers" in shown or "100 answers" in shown
    assert (tmp_path / "large.html").stat().st_size < 30e6


@pytest.mark.heavy
def test_a_run_is_watched_in_the_terminal(tmp_path: Path) -> None:
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    (tmp_path / "first.yaml").write_text(re.findall(r"```yaml\n(name: first.*?)```", page, re.DOTALL)[0])
    shown = walk("live", tmp_path)
    assert "cells are complete" in shown
    assert "Nothing to do" in shown
