"""Half-lives by hand, on curves and on a grid."""

from pathlib import Path

import numpy as np
import pytest

from tests.analysis.worlds import commit_evaluation, fill, plan_of
from xlharm.analysis.charts import Forest
from xlharm.analysis.halflife import Curve, HalfLife, curves, half_lives
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import VIEWS, view
from xlharm.store.store import Store

ITEMS = 100


def shares(rate: float, *, seeds: int = 1) -> np.ndarray:
    """Return hits on the first items, so that the items of a lower rate are among those of a higher one."""
    return np.tile((np.arange(ITEMS) < round(rate * ITEMS)).astype(float), (seeds, 1))


def curve(before: float, *after: float, amounts: tuple[float, ...] = (0, 10, 30, 100), seeds: int = 1) -> Curve:
    table = np.stack([shares(rate, seeds=seeds) for rate in after])
    return Curve(amounts[: len(after)], shares(before, seeds=seeds), table, np.ones(ITEMS))


def half(*rates: float, seeds: int = 1) -> HalfLife:
    return half_lives([curve(*rates, seeds=seeds)])[0]


def test_half_is_back_where_the_line_between_two_amounts_reaches_the_middle() -> None:
    # from 20 to 80, the middle is 50: between 10 steps (30) and 30 steps (70) half way
    found = half(0.8, 0.2, 0.3, 0.7, 0.8)
    assert (found.state, found.value) == ("back", pytest.approx(20))
    assert (found.before, found.after, found.last) == pytest.approx((80, 20, 80))
    assert found.low is not None
    assert found.high is not None
    assert 10 < found.low < 20 < found.high < 30


def test_at_an_amount_itself() -> None:
    assert half(0.8, 0.2, 0.5, 0.5).value == pytest.approx(10)


def test_never_back_is_censored() -> None:
    found = half(0.8, 0.2, 0.25, 0.22, 0.3)
    assert (found.state, found.value, found.low, found.high) == ("not back", None, None, None)
    almost = half(0.8, 0.2, 0.25, 0.3, 0.45)
    assert (almost.state, almost.value, almost.high) == ("not back", None, None)
    assert almost.low is not None  # it may be back before the end
    assert 30 < almost.low < 100


def test_what_was_not_removed_has_no_half_life() -> None:
    for rates in ((0.2, 0.2, 0.9), (0.2, 0.5, 0.9), (0.22, 0.21, 0.9)):
        assert half(*rates).state == "not removed"
        assert half(*rates).value is None


def test_a_curve_that_rises_and_falls_counts_from_its_first_crossing() -> None:
    assert half(0.8, 0.2, 0.8, 0.2, 0.8).value == pytest.approx(5)


def test_limits_are_wider_with_seeds_that_differ() -> None:
    same, other = curve(0.8, 0.2, 0.3, 0.7, seeds=3), curve(0.8, 0.2, 0.3, 0.7, seeds=3)
    for amount, rates in ((1, (0.15, 0.3, 0.45)), (2, (0.55, 0.7, 0.85))):
        other.after[amount] = np.concatenate([shares(rate) for rate in rates])
    narrow, wide = half_lives([same, other])
    assert narrow.value == pytest.approx(wide.value)
    assert narrow.low is not None
    assert narrow.high is not None
    assert wide.high is None or wide.high > narrow.high
    assert wide.low is not None
    assert wide.low < narrow.low


def test_limits_cover_the_true_half_life() -> None:
    """True OF 60 before, 10 after, rising by 12.5 points at each of four amounts: half of it is back at 2."""
    rng = np.random.default_rng(0)
    amounts = tuple(float(a) for a in range(5))
    drawn = []
    for _ in range(100):
        easy = rng.uniform(size=(1, 60))
        after = np.stack([(easy < 0.1 + 0.125 * a).astype(float) for a in amounts])
        drawn.append(Curve(amounts, (easy < 0.6).astype(float), after, np.ones(60)))
    found = half_lives(drawn)
    covered = [(f.low is None or f.low <= 2) and (f.high is None or f.high >= 2) for f in found]
    assert 0.93 <= np.mean(covered) < 1


PROBES = {
    "clean": {"kind": "continue", "times": [1, 2], "steps": 10},
    "again": {"kind": "relearn", "items": [1, 5]},
    "once": {"kind": "quantise"},
}


def test_curves_of_a_grid(tmp_path: Path) -> None:
    plan = plan_of(
        contaminate=["none", "de", "ur"], languages=["en", "ur"], unlearn={"none": [], "en": ["en"]}, probes=PROBES,
        seeds=[0, 1], exclude=[{"contaminate": "none", "unlearn": "en"}],
    )  # fmt: skip
    store = Store(str(tmp_path))
    fill(plan, store, share=lambda cell, _: (0.8 if cell.unlearn == "none" else 0.2, 0.9))
    assert view("halflife", GridResults(plan, store)).num_rows == 0
    back = {"clean:1x": 0.3, "clean:2x": 0.7, "again:1": 0.5, "again:5": 0.6, "once": 0.9}
    for cell in plan.cells:
        for probe, evaluations in cell.probes.items():
            for key in evaluations.values() if cell.unlearn == "en" else ():
                if not store.has(plan.stages[key]):
                    commit_evaluation(store, plan.stages[key], of=back[probe], qr=0.9)
    results = GridResults(plan, store)
    places = list(curves(results))
    assert {(p.contaminate, p.query) for p in places} == {
        *((c, q) for c in ("de", "ur") for q in ("en", "ur", "all")), ("all", "all"),
    }  # fmt: skip
    assert {(p.unlearn, p.probe, p.unit) for p in places} == {("en", "clean", "times"), ("en", "again", "items")}
    rows = view("halflife", results).to_pylist()
    clean, again = ([r for r in rows if r["probe"] == name] for name in ("clean", "again"))
    assert {(r["state"], r["half_life"], r["longest"]) for r in clean} == {("back", 0.375, 0.5)}  # of 40 steps
    assert {(r["state"], r["half_life"], r["longest"]) for r in again} == {("back", 1.0, 5.0)}
    assert {(r["seeds"], r["items"]) for r in rows} == {(2, 100)}
    clean_chart, again_chart = VIEWS["halflife"].charts(results)
    assert isinstance(clean_chart, Forest)
    assert isinstance(again_chart, Forest)
    assert [(e.label, e.value) for e in clean_chart.rows] == [
        (f"en · {c} · npo", 37.5) for c in ("de", "ur", "all")
    ]  # fmt: skip
    assert {e.value for e in again_chart.rows} == {1.0}
    assert all(e.low < e.value < e.high for e in clean_chart.rows)
