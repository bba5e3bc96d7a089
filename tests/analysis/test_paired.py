"""Any two cells against each other."""

import pytest

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.paired import contrast, seeds_of
from xlharm.analysis.results import GridResults
from xlharm.errors import UserError
from xlharm.plan.cells import Cell
from xlharm.store.store import Store


def share(cell: Cell, query: str) -> tuple[float, float]:
    """Unlearning en leaves 50, 40, 30 with seeds 0, 1, 2; en+de 20 points less asked in en, nothing less in de."""
    of = 0.5 - 0.1 * cell.seed
    return (of - 0.2 if cell.unlearn == "en+de" and query == "en" else of), 0.9


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> GridResults:
    sets = {"none": [], "en": ["en"], "both": ["en", "source"]}
    plan = plan_of(contaminate=["none", "de"], unlearn=sets, languages=["en", "de"], seeds=3)
    store = Store(str(tmp_path_factory.mktemp("three")))
    fill(plan, store, share=share)
    return GridResults(plan, store)


def test_seeds_are_paired(three: GridResults) -> None:
    rows = contrast(three, "de/en+de", "de/en").to_pylist()
    assert [(r["measure"], r["query"], r["seeds"], r["items"]) for r in rows] == [
        ("OF", "en", 3, 100), ("OF", "de", 3, 100), ("QR", "en", 3, 100), ("QR", "de", 3, 100)
    ]  # fmt: skip
    english, german, *_ = rows
    assert (english["first"], english["second"]) == (pytest.approx(20), pytest.approx(40))
    assert english["difference"] == pytest.approx(-20)
    # each seed differs by 20 points: the rates of 30 to 50 with the seeds do not widen it
    assert -34 < english["difference_lo"] < -20 < english["difference_hi"] < -6
    assert english["p"] < english["p_holm"] < 0.05
    assert (german["difference"], german["p"], german["p_holm"]) == (pytest.approx(0, abs=1e-9), 1, 1)
    assert german["difference_lo"] < -1


def test_one_seed_alone(three: GridResults) -> None:
    (row, *_) = contrast(three, "de/en+de/npo/1", "de/en/npo/1").to_pylist()
    assert (row["seeds"], row["first"], row["second"]) == (1, pytest.approx(20), pytest.approx(40))


def test_cells_that_are_not_there(three: GridResults) -> None:
    with pytest.raises(UserError, match=r"'de/fr/npo': no such cell.*did you mean 'de/en/npo'"):
        seeds_of(three, "de/fr/npo")
    with pytest.raises(UserError, match="several fit: de/none/none, de/en/npo, de/en\\+de/npo"):
        seeds_of(three, "de")
    with pytest.raises(UserError, match="both are the same cell"):
        contrast(three, "de/en", "de/en/npo")
    with pytest.raises(UserError, match="no seed in common"):
        contrast(three, "de/en/npo/1", "de/none/none/2")
