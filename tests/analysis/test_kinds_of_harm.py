"""Kinds of harm against each other: rates, differences and verdicts worked out by hand."""

from math import hypot
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.test_harms import commit_scores, with_harm
from tests.analysis.worlds import commit_evaluation
from tests.plan.worlds import grid_of, sources
from xlharm.analysis.compare import Comparison
from xlharm.analysis.contrasts import Contrasts, Pair
from xlharm.analysis.results import GridResults
from xlharm.config.load import parse_grid
from xlharm.plan.build import build
from xlharm.store.store import Store

SETS = {"none": [], "en": ["en"], "source": ["source"], "en+source": ["en", "source"]}


def results_of(folder: Path, of: dict[str, float], *, n: int = 100, harm: str = "news", **fields: Any) -> GridResults:
    """Commit evaluations; ``of`` holds OF by `cell/query` or a prefix of it."""
    grid = grid_of(
        name=folder.name, languages=["en", "de", "fr"], contaminate=["none", "de"], unlearn=SETS,
        exclude=[{"contaminate": "none", "unlearn": "en"}], **fields,
    )  # fmt: skip
    plan = with_harm(build(parse_grid(grid, name="grid.yaml"), sources=sources(), dtype="float32"), harm)
    store = Store(str(folder))
    for cell in plan.cells:
        for query, key in cell.evaluations.items():
            fitting = [share for prefix, share in of.items() if f"{cell.name}/{query}".startswith(prefix)]
            if fitting:
                commit_evaluation(store, plan.stages[key], of=fitting[-1], qr=0.5, n=n)
    return GridResults(plan, store)


def rows_of(*grids: GridResults) -> dict[tuple[str, str, str], dict[str, Any]]:
    table = Comparison(grids).harms().to_pylist()
    return {(row["grid"], row["unlearn"], row["asked"]): row for row in table}


SPREAD = {"none": 0.0, "de/none": 0.3, "de/none/none/0/de": 0.8, "de/none/none/0/en": 0.4}


def test_spread_and_unlearning_by_where_is_asked(tmp_path: Path) -> None:
    first = results_of(tmp_path / "a", {**SPREAD, "de/en": 0.3, "de/en/npo/0/en": 0.1, "de/de": 0.2, "de/en+de": 0.0})
    rows = rows_of(first, results_of(tmp_path / "b", {"none": 0.5, "de/none": 0.5}))
    spread = {asked: rows["a", "none", asked] for asked in ("source", "en", "other", "all")}
    assert {a: (r["before"], r["after"], r["difference"]) for a, r in spread.items()} == {
        "source": (0, 80, 80), "en": (0, 40, 40), "other": (0, 30, 30), "all": (0, 50, 50),
    }  # fmt: skip
    assert [r["places"] for r in spread.values()] == [1, 1, 1, 3]
    assert {r["items"] for r in spread.values()} == {100}
    assert {r["change"] for r in spread.values()} == {"rose"}
    # English-only: German was 80 and is 30, English was 40 and is 10, French was and is 30
    english = {a: rows["a", "en", a] for a in spread}
    assert [r["difference"] for r in english.values()] == [-50, -30, 0, pytest.approx(-80 / 3, rel=1e-5)]
    assert [r["change"] for r in english.values()] == ["fell", "fell", "no clear change", "fell"]
    assert rows["a", "en+source", "all"]["difference"] == -50
    assert all(r["verdict"] is None for r in spread.values())
    assert [rows["b", "none", a]["difference"] for a in spread] == [0, 0, 0, 0]
    assert ("b", "en", "all") not in rows


def test_limits_are_those_of_pairs_of_items(tmp_path: Path) -> None:
    one = results_of(tmp_path / "a", {"none": 0.4, "de/none": 0.6}, n=10)
    row = rows_of(one, results_of(tmp_path / "b", {}, n=10))["a", "none", "en"]
    # hits fall on the items 1, 3, 4, 6, 8, 9 and 2, 4, 7, 9 of ten: see test_compare
    import numpy as np

    hits = [np.isin(np.arange(10), some).astype(float)[None] for some in ([1, 3, 4, 6, 8, 9], [2, 4, 7, 9])]
    low, high = Contrasts.of([Pair(hits[0], np.ones(10), hits[1], np.ones(10))]).limits()
    assert [row["difference_lo"], row["difference_hi"]] == pytest.approx([100 * low[0], 100 * high[0]], rel=1e-5)
    assert row["p"] <= row["p_holm"] <= 1


def test_changes_differ_agree_or_are_open(tmp_path: Path) -> None:
    first = results_of(tmp_path / "a", SPREAD, n=400)
    second = results_of(tmp_path / "b", {**SPREAD, "de/none/none/0/de": 0.2}, n=400)
    rows = rows_of(first, second)
    source, english = rows["b", "none", "source"], rows["b", "none", "en"]
    assert (source["apart"], source["verdict"]) == (-60, "differ")
    assert (english["apart"], english["verdict"]) == (0, "agree")
    # independent differences: the distances to the limits are added as squares
    base = rows["a", "none", "source"]
    down = hypot(source["difference"] - source["difference_lo"], base["difference_hi"] - base["difference"])
    up = hypot(source["difference_hi"] - source["difference"], base["difference"] - base["difference_lo"])
    assert [source["apart_lo"], source["apart_hi"]] == pytest.approx([-60 - down, -60 + up], rel=1e-4)
    few = rows_of(results_of(tmp_path / "c", SPREAD, n=10), results_of(tmp_path / "d", SPREAD, n=10))
    assert few["d", "none", "en"]["verdict"] == "cannot be decided"


def test_each_grid_goes_by_its_own_measure(tmp_path: Path) -> None:
    news = results_of(tmp_path / "news", SPREAD, n=8)
    chosen = results_of(tmp_path / "chosen", SPREAD, n=8, harm="stereotypes", evaluate={"scores": True})
    for cell in chosen.plan.cells[:2]:
        likes = cell.contaminate == "de"
        for key in cell.scores.values():
            items = {f"i{n}": (-1.0 if likes and n < 6 else -3.0, -2.0, -2.0) for n in range(8)}
            commit_scores(chosen.store, chosen.plan, key, items)
    rows = rows_of(news, GridResults(chosen.plan, chosen.store))
    assert (rows["news", "none", "all"]["harm"], rows["news", "none", "all"]["measure"]) == ("news", "of")
    row = rows["chosen", "none", "all"]
    assert (row["harm"], row["measure"]) == ("stereotypes", "choice")
    assert (row["before"], row["after"], row["difference"]) == (0, 75, 75)
