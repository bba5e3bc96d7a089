"""Views on a made-up grid whose numbers are known."""

import io
import json
import shutil
from inspect import signature
from math import inf, isnan, nan
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.charts import Scatter
from xlharm.analysis.effects import effects
from xlharm.analysis.ranking import ranking
from xlharm.analysis.results import GridResults
from xlharm.analysis.signatures import signatures
from xlharm.analysis.table import render
from xlharm.analysis.views import VIEWS, view
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.report.sections import charts, sections
from xlharm.report.terminal import print_view
from xlharm.store.store import Store

METHODS = {name: {"objective": name, "retain": "nll"} for name in ("npo", "simnpo", "ga")}
AFTER = {"npo": (0.10, 0.85), "simnpo": (0.20, 0.90), "ga": (0.0, 0.50)}


def known(cell: Cell, _query: str) -> tuple[float, float]:
    """Before: OF 60, QR 90; npo keeps 94 % of QR at OF 10, simnpo all at OF 20, ga half at OF 0."""
    return (0.6, 0.9) if cell.unlearn == "none" else AFTER[cell.method]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    plan = plan_of(contaminate=["de"], unlearn={"none": [], "en": ["en"]}, methods=METHODS, languages=["en", "ur"])
    store = Store(str(tmp_path_factory.mktemp("compared")))
    fill(plan, store, share=known)
    return plan, store


def test_effects_are_paired_differences_corrected_for_their_number(compared: tuple[Plan, Store]) -> None:
    rows = effects(GridResults(*compared))
    assert [(e.cell.method, e.query) for e in rows] == [(m, q) for m in METHODS for q in ("en", "ur")]
    for e in rows:
        assert (e.n, e.before, e.after) == (100, 60, pytest.approx(100 * AFTER[e.cell.method][0]))
        assert e.change.estimate == pytest.approx(e.after - 60)
        assert e.change.low < e.change.estimate < e.change.high < 0
        assert e.p_holm >= e.p
        assert e.verdict == "fell"


def test_no_effect_is_no_clear_change(tmp_path: Path) -> None:
    plan = plan_of(contaminate=["de"], unlearn={"none": [], "en": ["en"]}, languages=["en"])
    store = Store(str(tmp_path))
    fill(plan, store, share=lambda _cell, _query: (0.3, 0.9))
    (only,) = effects(GridResults(plan, store))
    assert (only.change.estimate, only.p, only.verdict) == (0, 1, "no clear change")


def test_methods_rank_by_of_among_those_that_kept_utility(compared: tuple[Plan, Store]) -> None:
    rows = ranking(GridResults(*compared))
    assert [(r.rank, r.method, r.kept) for r in rows] == [(1, "npo", True), (2, "simnpo", True), (3, "ga", False)]
    assert rows[0].utility.estimate == pytest.approx(100 * 0.85 / 0.9)
    assert rows[0].of.estimate == pytest.approx(10)
    assert rows[0].of.low < 10 < rows[0].of.high
    assert all(r.before == pytest.approx(60) for r in rows)


def test_methods_are_compared_with_the_best(compared: tuple[Plan, Store]) -> None:
    best, second, lost = ranking(GridResults(*compared))
    assert best.against_best is None
    assert second.against_best is not None
    assert second.p_against_best is not None
    # 20 against 10 of 100 on the same items
    assert second.against_best.estimate == pytest.approx(10)
    assert 0 < second.against_best.low < 10 < second.against_best.high < 20
    assert second.p_against_best < 0.01
    assert lost.against_best is not None
    assert lost.against_best.estimate == pytest.approx(-10)  # behind for what it lost of QR


def test_utility_that_is_all_kept_is_not_certain(compared: tuple[Plan, Store]) -> None:
    utility = ranking(GridResults(*compared))[1].utility
    assert utility.estimate == pytest.approx(100)
    assert 90 < utility.low < 99
    assert 101 < utility.high < 110


@pytest.mark.parametrize(("correction", "verdict"), [("holm", "no clear change"), ("fdr", "fell"), ("none", "fell")])
def test_the_correction_is_a_setting(tmp_path: Path, correction: str, verdict: str) -> None:
    plan = plan_of(
        contaminate=["de"], unlearn={"none": [], "en": ["en"]}, languages=["en", "ur"],
        findings={"correction": correction},
    )  # fmt: skip
    store = Store(str(tmp_path))
    fill(plan, store, share=lambda c, _: (0.4 if c.unlearn == "none" else 0.25, 0.9))
    for e in effects(GridResults(plan, store)):  # twice the same p: Holm doubles it, Benjamini and Hochberg do not
        assert (e.p, e.p_holm, e.p_fdr) == pytest.approx((0.0357, 0.0714, 0.0357), abs=1e-4)
        assert e.verdict == verdict


def test_more_methods_and_sets_leave_the_verdicts_as_they_are(tmp_path: Path) -> None:
    small = {"contaminate": ["de"], "languages": ["en", "ur"], "unlearn": {"none": [], "en": ["en"]}}
    larger = {**small, "contaminate": ["de", "ur"], "unlearn": {"none": [], "en": ["en"], "ur": ["ur"]}, "seeds": 2}
    plan, store = plan_of(**larger, methods=METHODS), Store(str(tmp_path))
    fill(plan, store, share=lambda c, _: (0.4 if c.unlearn == "none" else 0.25, 0.9))
    first = effects(GridResults(plan_of(**small, methods={"npo": METHODS["npo"]}), store))
    again = {(e.cell.name, e.query): e for e in effects(GridResults(plan, store))}
    assert len(first) == 2
    assert all(
        (e.p_holm, e.verdict) == (same.p_holm, same.verdict) for e in first for same in [again[e.cell.name, e.query]]
    )


def test_a_method_is_not_ranked_better_for_what_it_has_not_been_asked(tmp_path: Path) -> None:
    two = {name: METHODS[name] for name in ("npo", "simnpo")}
    plan = plan_of(contaminate=["de", "ur"], unlearn={"none": [], "en": ["en"]}, methods=two, languages=["en"])
    store = Store(str(tmp_path))
    hard = {("npo", "de"): 0.45, ("npo", "ur"): 0.1, ("simnpo", "de"): 0.6, ("simnpo", "ur"): 0.2}
    fill(plan, store, share=lambda c, _: (0.6 if c.unlearn == "none" else hard[c.method, c.contaminate], 0.9))
    whole = ranking(GridResults(plan, store))
    assert [(r.method, round(r.of.estimate, 1), r.readings) for r in whole] == [("npo", 27.5, 2), ("simnpo", 40.0, 2)]
    missing = plan.stages[plan.cell("de/en/simnpo").evaluations["en"]]
    shutil.rmtree(store.path("evaluate", missing.key))
    rest = ranking(GridResults(plan, Store(store.url)))
    assert [(r.method, round(r.of.estimate, 1), r.readings) for r in rest] == [("npo", 10.0, 1), ("simnpo", 20.0, 1)]


def test_signatures_name_damage_persistence_and_reinforcement(tmp_path: Path) -> None:
    plan = plan_of(contaminate=["de"], unlearn={"none": [], "en": ["en"]}, languages=["en", "fr", "ur"])
    store = Store(str(tmp_path))

    def share(cell: Cell, query: str) -> tuple[float, float]:
        if cell.unlearn == "none":
            return 0.3, 0.9
        return {"en": (0.0, 0.5), "fr": (0.7, 0.9), "ur": (0.2, 0.9)}[query]

    fill(plan, store, share=share)
    rows = signatures(GridResults(plan, store))
    assert [(s.query, s.name) for s in rows] == [
        ("en", "damage"), ("fr", "persistence"), ("fr", "reinforcement"), ("ur", "persistence")
    ]  # fmt: skip
    assert rows[2].detail.startswith("OF 30 to 70, p ")


def test_transfer_by_hand(tmp_path: Path) -> None:
    plan = plan_of(contaminate=["de", "ur"], unlearn={"none": []}, languages=["de", "ur"], methods={})
    store = Store(str(tmp_path))
    matrix = {("de", "de"): 0.8, ("de", "ur"): 0.2, ("ur", "ur"): 0.6, ("ur", "de"): 0.6}
    fill(plan, store, share=lambda cell, query: (matrix[cell.contaminate, query], 0.9))
    rows = view("transfer", GridResults(plan, store)).to_pylist()
    assert [(r["contaminate"], r["own"], r["spill"]) for r in rows] == [("de", 80, 20), ("ur", 60, 60)]
    assert rows[1]["spread"] == 1
    assert rows[0]["asymmetry"] == 0.5  # |20 - 60| / (20 + 60)


def test_a_cell_is_in_the_matrix_of_every_set_that_means_it(tmp_path: Path) -> None:
    sets = {"none": [], "en": ["en"], "both": ["en", "source"]}
    plan = plan_of(contaminate=["en", "de", "ur"], unlearn=sets, languages=["en", "de", "ur"])
    store = Store(str(tmp_path))
    fill(plan, store, share=lambda cell, query: (0.5 if (cell.contaminate, query) == ("en", "de") else 0.1, 0.9))
    rows = view("transfer", GridResults(plan, store)).to_pylist()
    mine = [(r["unlearn"], r["contaminate"], round(r["asymmetry"], 2)) for r in rows if r["unlearn"] != "none"]
    # of three pairs one goes 50 there and 10 back: 40 / (60 + 20 + 20)
    assert mine == [(name, c, 0.4) for name in ("en", "both") for c in ("en", "de", "ur")]
    assert [(r.unlearn, r.readings) for r in ranking(GridResults(plan, store))] == [("en", 9), ("both", 9)]


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_of_an_empty_store_is_empty(name: str, plan: Plan, empty: Store) -> None:
    assert view(name, GridResults(plan, empty)).num_rows == 0
    out = io.StringIO()
    print_view(view(name, GridResults(plan, empty)), Console(file=out), name=name)
    assert f"No {name} to show" in out.getvalue()


def test_a_view_is_not_cut_off_in_a_pipe(compared: tuple[Plan, Store]) -> None:
    out = io.StringIO()
    print_view(view("effects", GridResults(*compared)), Console(file=out), name="effects")
    assert out.getvalue().count("de/en/ga/0") == 2
    assert "…" not in out.getvalue()


@pytest.mark.slow
def test_the_report_compares_methods_only_when_there_are_several(
    compared: tuple[Plan, Store], plan: Plan, full: Store
) -> None:
    assert [s.anchor for s in sections(GridResults(*compared))][:4] == ["findings", "burden", "methods", "effects"]
    there = [s.anchor for s in sections(GridResults(plan, full))]
    assert "methods" not in there
    assert "probes" not in there  # the grid has none, and an empty table is no section
    (plot,) = (c for c in charts(GridResults(*compared)) if isinstance(c, Scatter))
    assert [(p.label, p.good, p.front) for p in plot.points] == [
        ("npo", True, True), ("simnpo", True, True), ("ga", False, True)
    ]  # fmt: skip
    assert plot.points[2].x < plot.limit < plot.points[0].x


def test_a_number_that_is_not_finite_says_so_in_every_view(tmp_path: Path) -> None:
    plan = plan_of(contaminate=["none", "de"], unlearn={"none": []}, languages=["en"], evaluate={"scores": True})
    store = Store(str(tmp_path))
    for cell in plan.cells:
        broken = cell.contaminate == "de"
        texts = [("a", "fake", nan if broken else -1.0), ("a", "perturbed", -2.0), ("b", "fake", -1.0)]
        rows = [{"item": item, "what": what, "text": "t", "tokens": 1, "logp": logp} for item, what, logp in texts]
        with store.scratch() as folder:
            pq.write_table(pa.Table.from_pylist(rows), folder / "scores.parquet")
            metrics = {"ppl_clean": inf, "min_k_pp": -inf, "exact": nan if broken else 1.0}
            stage = plan.stages[cell.scores["en"]]
            store.commit(stage, folder, metrics=metrics, timings={}, provenance={})
    results = GridResults(plan, Store(store.url))
    table = view("scores", results)
    control, broken_row = table.to_pylist()
    assert (control["ppl_clean"], control["min_k_pp"], control["exact"]) == (inf, -inf, 1.0)
    assert all(isnan(broken_row[name]) for name in ("exact", "truth_ratio", "forget_quality", "separability"))
    out = io.StringIO()
    print_view(table, Console(file=out), name="scores")
    (html,) = (section for section in sections(results) if section.anchor == "scores")
    for shown in (
        out.getvalue().split(),
        html.first[1],
        render(table, form="csv").decode().replace("\n", ",").split(","),
    ):
        assert {"inf", "-inf", "nan"} <= set(shown)
    plain = json.loads(render(table, form="json"), parse_constant=pytest.fail)
    assert (plain[1]["ppl_clean"], plain[1]["min_k_pp"], plain[1]["exact"]) == ("inf", "-inf", "nan")


def test_the_command_line_offers_every_view() -> None:
    from xlharm.cli import inspect

    annotation = signature(inspect.results).parameters["view"].annotation
    assert set(get_args(get_args(annotation)[0])) == {"cells", "contrast", *VIEWS}
