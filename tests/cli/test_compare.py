"""`xlharm compare` on two grids in stores of their own."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import xlharm
from tests.analysis.worlds import commit_evaluation
from tests.cli.conftest import Xlharm
from xlharm.cli.common import split_grid
from xlharm.store.store import Store


@pytest.fixture
def two(tmp_path: Path, mini_grid: dict[str, Any]) -> tuple[Path, str]:
    """Two grids of different rank as arguments; the second is in another store and asks nothing in Urdu."""
    arguments = []
    for name, rank, languages, of in (("wide", 4, ["en", "de", "ur"], 0.6), ("narrow", 2, ["en", "de"], 0.2)):
        path, store = tmp_path / f"{name}.yaml", tmp_path / f"{name}-store"
        grid = {**mini_grid, "name": name, "lora": {"rank": rank, "alpha": 8}, "languages": languages}
        YAML(typ="safe").dump({**grid, "dtype": "float32"}, path)
        plan = xlharm.open(path, store=store).plan()
        for stage in plan.stages.values():
            if stage.kind == "evaluate":
                commit_evaluation(Store(str(store)), stage, of=of, qr=0.5, n=20)
        arguments.append(f"{path}@{store}")
    return tmp_path, arguments[1]


@pytest.mark.slow
def test_grids_in_two_stores(xlharm_here: Xlharm, two: tuple[Path, str]) -> None:
    folder, narrow = two
    store = folder / "wide-store"
    done = xlharm_here("compare", folder / "wide.yaml", narrow, "--store", store)
    assert (done.returncode, done.stderr) == (0, "")
    assert "narrow differs from wide in languages: ['en', 'de', 'ur'] -> ['en', 'de']; lora.rank: 4 -> 2" in done.stdout
    assert "wide: 9 of 27 places have no partner (not in narrow): --view alone" in done.stdout
    assert "Findings over all contamination languages: " in done.stdout
    (row, *_) = json.loads(
        xlharm_here("compare", folder / "wide.yaml", narrow, "--store", store, "--format", "json").stdout
    )
    assert (row["measure"], row["paired"], row["items"]) == ("OF", "items", 20)
    assert [row[name] for name in ("first", "second", "difference")] == pytest.approx([60, 20, 40])
    alone = xlharm_here("compare", folder / "wide.yaml", narrow, "--store", store, "--view", "alone", "--format", "csv")
    assert alone.stdout.splitlines()[1] == "wide,narrow,none,none,none,ur,not in narrow"
    places = xlharm_here("compare", folder / "wide.yaml", narrow, "--store", store, "--view", "cells")
    assert places.stdout.count("OF") == 18  # one for each place that both have


def test_mistakes_are_one_line(xlharm_here: Xlharm, two: tuple[Path, str]) -> None:
    folder, _ = two
    alone = xlharm_here("compare", folder / "wide.yaml")
    assert (alone.returncode, alone.stderr.count("\n")) == (2, 2)  # the store is empty; then the mistake
    assert "compare: expected two grids or more, as in: xlharm compare A.yaml B.yaml" in alone.stderr
    missing = xlharm_here("compare", folder / "wide.yaml", folder / "gone.yaml@nowhere")
    assert missing.returncode == 2
    assert "gone.yaml: no such grid file" in missing.stderr


@pytest.mark.parametrize(
    ("text", "path", "store"),
    [
        ("a.yaml", "a.yaml", "store"),
        ("a.yaml@other", "a.yaml", "other"),
        ("a.yaml@s3://me@host/bucket", "a.yaml", "s3://me@host/bucket"),
        ("me@home/a.yaml", "me@home/a.yaml", "store"),
        ("me@home/a.yaml@you@home/other", "me@home/a.yaml", "you@home/other"),
        ("me@home/b@2.yaml@other", "me@home/b@2.yaml", "other"),
        ("gone.yaml@me@home", "gone.yaml", "me@home"),
    ],
)
def test_paths_and_stores_may_hold_an_at(
    text: str, path: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me@home").mkdir()
    for name in ("a.yaml", "me@home/a.yaml", "me@home/b@2.yaml"):
        Path(name).write_text("", encoding="utf-8")
    assert split_grid(text, store="store") == (Path(path), store)
