"""Several seeds: pooled numbers by hand, and the power of a design."""

from pathlib import Path

import pytest

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.results import GridResults
from xlharm.analysis.seeds import measured_sd, pooled, powers
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
    (row,) = pooled(three)
    assert (row["seeds"], row["n"], row["n_qr"], row["of"]) == (3, 100, 100, pytest.approx(40))
    assert row["of_sd"] == pytest.approx(20)
    assert row["qr_sd"] == pytest.approx(0, abs=1e-9)
    # seeds spread more than items: the interval is far wider than 100 or 300 items alone would give (± 9.6)
    assert row["of_hi"] - row["of_lo"] > 35
    assert row["qr_hi"] - row["qr_lo"] < 15
    assert measured_sd(three) == pytest.approx(0.2)


def test_one_seed_has_nothing_to_pool(tmp_path: Path) -> None:
    plan = plan_of(contaminate=["de"], unlearn={"none": []}, methods={}, languages=["en"])
    store = Store(str(tmp_path))
    fill(plan, store)
    assert view("seeds", GridResults(plan, store)).num_rows == 0
    assert measured_sd(GridResults(plan, store)) is None


def test_more_questions_cannot_buy_seeds() -> None:
    found = {(p.n, p.seeds): p.chances for p in powers(n=100, points=10, sd=0.05)}
    assert found[400, 1][1] < 0.4
    assert found[100, 10][1] > 0.8
    assert all(a < b for a, b in zip(found[100, 1], found[100, 5], strict=True))
    # without spread between seeds, Fleiss: 388 a group for 80 % at 50 against 40
    exact = {(p.n, p.seeds): p.chances for p in powers(n=388, points=10, sd=0.0)}
    assert exact[388, 1][1] == pytest.approx(0.8, abs=0.005)
