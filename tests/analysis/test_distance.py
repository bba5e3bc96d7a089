"""The view `distance` on a made-up grid whose rates follow a distance."""

from pathlib import Path
from typing import Any

import pytest

from tests.analysis.worlds import LANGUAGES, fill, plan_of
from xlharm.analysis import distance
from xlharm.analysis.charts import Forest
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import view
from xlharm.corpus.distances import linguistic
from xlharm.plan.cells import Cell
from xlharm.store.store import Store

SYNTAX = linguistic("syntactic", LANGUAGES)


def near_shares_more(cell: Cell, query: str) -> tuple[float, float]:
    """OF falls with the syntactic distance; unlearning takes more of it from nearer languages."""
    if cell.contaminate == "none":
        return 0.1, 0.9
    before = 0.95 if query == cell.contaminate else 0.9 - 0.5 * SYNTAX[cell.contaminate, query]
    if cell.unlearn == "none":
        return before, 0.9
    gone = 1.0 if cell.unlearn == query else 1 - SYNTAX[cell.unlearn, query]
    return before - gone * (before - 0.1), 0.9


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> GridResults:
    plan = plan_of(contaminate=["none", *LANGUAGES], unlearn={"none": [], "source": ["source"]})
    store = Store(str(tmp_path_factory.mktemp("distance")))
    fill(plan, store, share=near_shares_more)
    return GridResults(plan, store)


@pytest.fixture(scope="module")
def rows(world: GridResults) -> dict[tuple[Any, Any], dict[str, Any]]:
    return {(r["outcome"], r["distance"]): r for r in view("distance", world).to_pylist()}


@pytest.mark.slow
@pytest.mark.parametrize("outcome", ["spread", "transfer"])
def test_what_follows_a_distance_is_found_with_it(rows: dict[Any, dict[str, Any]], outcome: str) -> None:
    syntactic = rows[outcome, "syntactic"]
    assert syntactic["rho"] < -0.98
    assert syntactic["rho_hi"] < -0.9
    assert syntactic["p"] == pytest.approx(1 / 2000)
    assert syntactic["p"] < syntactic["p_holm"] <= 0.006
    assert syntactic["beta"] < -0.9
    assert syntactic["beta_p"] < 0.01
    assert syntactic["r2"] > 0.95
    assert (syntactic["languages"], syntactic["pairs"], syntactic["without"]) == (9, 72, None)
    others = [rows[outcome, kind] for kind in ("phonological", "inventory", "genetic", "geographic", "script")]
    assert all(abs(other["beta"]) < 0.2 for other in others)


def test_languages_without_a_distance_are_named(rows: dict[Any, dict[str, Any]]) -> None:
    """There is no tokenizer here, so that no language has tokens."""
    tokens = rows["spread", "tokens"]
    assert tokens["rho"] is None
    assert tokens["beta"] is None
    assert "en" in tokens["without"]


def test_transfer_is_the_share_of_what_was_there(tmp_path: Path) -> None:
    """OF 10 in the control, 60 before and 35 after: half is gone; where less than the margin was there, none is."""

    def share(cell: Cell, query: str) -> tuple[float, float]:
        there = 0.15 if query == "fr" else 0.6
        return (0.1 if cell.contaminate == "none" else there if cell.unlearn == "none" else 0.35), 0.9

    plan = plan_of(
        contaminate=["none", "de"], unlearn={"none": [], "en": ["en"], "two": ["en", "de"]}, seeds=2,
        languages=["en", "de", "fr"], exclude=[{"contaminate": "none", "unlearn": "en"},
                                               {"contaminate": "none", "unlearn": "two"}],
    )  # fmt: skip
    store = Store(str(tmp_path))
    fill(plan, store, share=share)
    spread, transfer = distance.outcomes(GridResults(plan, store))
    assert spread.values == {("de", "en"): pytest.approx(50), ("de", "fr"): pytest.approx(5)}
    assert transfer.values == {("en", "de"): pytest.approx(50)}
    assert (transfer.name, transfer.method) == ("transfer", "npo")


def test_too_few_languages_say_nothing(tmp_path: Path) -> None:
    plan = plan_of(contaminate=["none", "de"], unlearn={"none": []}, languages=["en", "de", "ur"])
    store = Store(str(tmp_path))
    fill(plan, store)
    assert {r["rho"] for r in view("distance", GridResults(plan, store)).to_pylist()} == {None}


def test_tokens_are_those_of_the_base_on_the_corpus() -> None:
    from types import SimpleNamespace

    from xlharm.corpus.finding import assets
    from xlharm.plan.base_files import folder_base

    base, corpus = folder_base(assets() / "tiny-base"), SimpleNamespace(path=assets() / "tinyworld")
    results: Any = SimpleNamespace(plan=SimpleNamespace(sources=SimpleNamespace(base=base, corpus=corpus)))
    found = distance._of_tokens(results, ("en", "de", "zh", "xx"))
    assert found["en", "de"] < found["en", "zh"] <= 1
    assert not any("xx" in pair for pair in found)


def test_the_figures_hold_the_correlations(rows: dict[Any, dict[str, Any]], world: GridResults) -> None:
    spread, transfer = distance.VIEW.charts(world)
    assert isinstance(spread, Forest)
    assert (spread.name, transfer.name) == ("distance-spread", "distance-transfer-npo")
    (syntactic,) = (row for row in spread.rows if row.label == "syntactic")
    assert syntactic.value == pytest.approx(100 * rows["spread", "syntactic"]["rho"], rel=1e-5)
    assert syntactic.tone == "bad"
    assert "tokens" not in {row.label for row in spread.rows}
