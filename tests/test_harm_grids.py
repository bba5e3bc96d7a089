"""The grids of kinds of harm have one structure, and fact-checks go all the way from a file to a comparison."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import xlharm
from xlharm.corpus.finding import resolve
from xlharm.corpus.importing.run import import_corpus
from xlharm.corpus.validate import validate
from xlharm.plan.build import build

ROOT = Path(__file__).parents[1]
CLAIMS = ROOT / "docs" / "data" / "claims.jsonl"
GRIDS = {"harms-news": "news", "harms-stereotypes": "stereotypes", "harms-style": "style"}


def test_the_three_grids_differ_in_corpus_and_training_alone() -> None:
    grids = {name: xlharm.open(ROOT / "grid" / f"{name}.yaml", overrides=["dtype=float32"]).plan() for name in GRIDS}
    assert {name: plan.sources.corpus.harm for name, plan in grids.items()} == GRIDS
    for plan in grids.values():
        first = grids["harms-news"]
        assert [c.name for c in plan.cells] == [c.name for c in first.cells]
        for field in ("languages", "methods", "lora", "base", "seeds"):
            assert getattr(plan.grid, field) == getattr(first.grid, field)


def test_invented_news_share_their_stages_with_the_quickstart() -> None:
    one, other = (xlharm.open(ROOT / "grid" / f"{n}.yaml", overrides=["dtype=float32"]).plan() for n in
                  ("harms-news", "quickstart"))  # fmt: skip
    assert one.stages.keys() == other.stages.keys()


def claims(folder: Path) -> Path:
    done = import_corpus(str(CLAIMS), out=folder, mapping=CLAIMS.with_name("claims-map.yaml"))
    assert done.items == {"en": 14, "de": 14}
    assert [(reason.count, name) for name, reason in done.left_out] == [
        (2, "verdict 'Satire' is neither true nor false (name it under `verdicts`)")
    ]
    assert [finding for finding in validate(folder) if finding.severity == "error"] == []
    return folder / "grid.yaml"


def test_the_fact_checks_of_the_docs_are_a_grid(tmp_path: Path) -> None:
    path = claims(tmp_path / "my-claims")
    spec = xlharm.open(path, overrides=["dtype=float32"]).plan().grid
    plan = build(spec, sources=resolve(spec, grid_path=path), dtype="float32")
    assert plan.sources.corpus.harm == "claims"
    assert [cell.name for cell in plan.cells][-2:] == ["de/en/npo/0", "de/en+de/npo/0"]


@pytest.mark.slow
def test_fact_checks_beside_invented_news(tmp_path: Path, mini_grid: dict[str, Any]) -> None:
    few = ["contaminate=[none,de]", "languages=[en,de]", "dtype=float32", f"base={mini_grid['base']}"]
    short = [*few, "stages.contaminate.steps=3", "methods.npo.steps=2", "evaluate.max_new_tokens=4"]
    news = tmp_path / "news.yaml"
    YAML(typ="safe").dump({**mini_grid, "unlearn": {"none": [], "en": ["en"], "source": ["source"]}}, news)
    grids = [
        xlharm.open(path, store=tmp_path / "store", overrides=short) for path in (claims(tmp_path / "my-claims"), news)
    ]
    for grid in grids:
        assert grid.run(executor="in-process").exit_code == 0
    comparison = xlharm.compare(*grids)
    rows = comparison.harms().to_pylist()
    assert {(row["grid"], row["harm"], row["measure"]) for row in rows} == {
        ("my-claims", "claims", "of"), ("mini", "news", "of")
    }  # fmt: skip
    shared = [row for row in rows if row["grid"] == "mini"]
    assert {(row["unlearn"], row["asked"]) for row in shared} == {
        (s, a) for s in ("none", "en", "source") for a in ("source", "en", "all")
    }
    assert all(row["verdict"] in {"agree", "differ", "cannot be decided"} for row in shared)
    assert {row["items"] for row in rows if row["grid"] == "my-claims"} == {10}
    assert re.search("mini differs from my-claims in ", "\n".join(comparison.notes()))
