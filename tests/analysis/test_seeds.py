"""Several seeds: pooled numbers by hand, and the power of a design."""

from pathlib import Path

import pytest

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.results import GridResults
from xlharm.analysis.seeds import measured_sd, powers, shown
from xlharm.analysis.views import view
from xlharm.plan.cells import Cell
from xlharm.store.store import Store


def by_seed(cell: Cell, _query: str) -> tuple[float, float]:
    return (0.2, 0.4, 0.6)[cell.seed], 0.9


@pytest.fixture
def three(tmp_path: Path) -> GridResults:
    plan = plan_of(contaminate=["de"], unlearn={"none": []}, methods={}, languages=["en"], seeds=3)
    store = Store(str(tmp_path))
    fill(plan, store, share=by_seed)
    return GridResults(plan, store)


def test_seeds_are_pooled_and_their_spread_is_told(three: GridResults) -> None:
    (row,) = view("seeds", three).to_pylist()
    counts = {name: row[name] for name in ("seeds", "n", "items", "n_qr", "items_qr", "of")}
    assert counts == {"seeds": 3, "n": 100, "items": 100, "n_qr": 100, "items_qr": 100, "of": pytest.approx(40)}
    assert row["of_sd"] == pytest.approx(20)
    assert row["qr_sd"] == pytest.approx(0, abs=1e-9)
    # three seeds of 20, 40, 60: 40 ± 4.303 · 20 / √3 = 40 ± 50 by seeds alone, drawn into 0 to 100 by Wilson's score
    assert row["of_lo"] < 12
    assert row["of_hi"] > 78
    assert row["qr_hi"] - row["qr_lo"] < 15
    assert measured_sd(three) == pytest.approx(0.2)


def test_one_seed_has_nothing_to_pool(tmp_path: Path) -> None:
    plan = plan_of(contaminate=["de"], unlearn={"none": []}, methods={}, languages=["en"])
    store = Store(str(tmp_path))
    fill(plan, store)
    assert view("seeds", GridResults(plan, store)).num_rows == 0
    results = GridResults(plan, store)
    assert measured_sd(results) is None
    assert shown(results) is results.readings


def test_the_tables_show_all_seeds_together_and_each(three: GridResults) -> None:
    readings = shown(three)
    rates = {
        seed: r.of.value for seed in (None, 0, 1, 2) if (r := readings.get("de", "none", "none", seed, "en")) and r.of
    }
    assert rates == {None: pytest.approx(40), 0: 20, 1: 40, 2: 60}


def test_more_questions_cannot_buy_seeds() -> None:
    chances = {(p.n, p.seeds): p.chances for p in powers(n=100, points=10, sd=0.05)}
    assert chances[400, 1][1] < 0.4
    assert chances[100, 10][1] > 0.8
    assert all(a < b for a, b in zip(chances[100, 1], chances[100, 5], strict=True))
    # without spread between seeds, Fleiss: 388 a group for 80 % at 50 against 40
    exact = {(p.n, p.seeds): p.chances for p in powers(n=388, points=10, sd=0.0)}
    assert exact[388, 1][1] == pytest.approx(0.8, abs=0.005)
