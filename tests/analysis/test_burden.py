"""Burdens by hand: what is left to each language, what it costs, and the gap between groups."""

from pathlib import Path

import pytest

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis import burden
from xlharm.analysis.charts import Forest
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import view
from xlharm.plan.cells import Cell
from xlharm.store.store import Store

OF = {"en": 0.1, "de": 0.2, "jv": 0.5, "ur": 0.7}
QR = {"en": 0.9, "de": 0.8, "jv": 0.5, "ur": 0.6}


def made(folder: Path, **fields: object) -> list[dict[str, object]]:
    """Before: OF 80, QR 90; the control has OF 10."""

    def share(cell: Cell, query: str) -> tuple[float, float]:
        if cell.contaminate == "none":
            return 0.1, 0.9
        return (0.8, 0.9) if cell.unlearn == "none" else (OF[query], QR[query])

    plan = plan_of(
        **{"contaminate": ["none", "de"], "unlearn": {"none": [], "en": ["en"]}, "languages": list(OF),
           "exclude": [{"contaminate": "none", "unlearn": "en"}], **fields},
    )  # fmt: skip
    store = Store(str(folder))
    fill(plan, store, share=share)
    return view("burden", GridResults(plan, store)).to_pylist()


def test_harm_and_cost_by_hand(tmp_path: Path) -> None:
    rows = {(r["unlearn"], r["query"]): r for r in made(tmp_path)}
    after = {query: rows["en", query] for query in OF}
    for query, row in after.items():
        assert row["harm"] == pytest.approx(100 * OF[query] - 10)
        assert row["cost"] == pytest.approx(90 - 100 * QR[query])
        assert row["harm_lo"] < row["harm"] < row["harm_hi"]  # type: ignore[operator] # numbers
    assert [after[q]["resources"] for q in OF] == ["high", "high", "low", "low"]
    assert [after[q]["worst"] for q in OF] == [None, None, "cost", "harm"]
    before = rows["none", "en"]
    assert (before["harm"], before["cost"]) == (pytest.approx(70), None)


def test_the_gap_is_the_difference_of_the_groups_means(tmp_path: Path) -> None:
    (gap,) = [r for r in made(tmp_path) if r["query"] == "low − high" and r["unlearn"] == "en"]
    # means of jv and ur minus means of en and de: 50 - 5 and 35 - 5
    assert gap["harm"] == pytest.approx(45)
    assert gap["cost"] == pytest.approx(30)
    assert 25 < gap["harm_lo"] < 45 < gap["harm_hi"] < 65  # type: ignore[operator] # numbers


def test_the_gaps_limits_are_those_of_a_plain_difference_where_one_group_has_no_harm(tmp_path: Path) -> None:
    """Of two languages of which one has 0 of 100 in all models, the gap is nearly the other's harm with its limits."""

    def share(cell: Cell, query: str) -> tuple[float, float]:
        if query == "de" or cell.contaminate == "none":
            return 0.0, 0.9
        return 0.4, 0.9

    plan = plan_of(contaminate=["none", "ur"], unlearn={"none": []}, languages=["de", "ur"])
    store = Store(str(tmp_path))
    fill(plan, store, share=share)
    rows = {r["query"]: r for r in view("burden", GridResults(plan, store)).to_pylist()}
    assert rows["low − high"]["harm"] == pytest.approx(40) == pytest.approx(rows["ur"]["harm"])
    for end in ("harm_lo", "harm_hi"):
        assert rows["low − high"][end] == pytest.approx(rows["ur"][end], abs=3)


def test_groups_follow_the_grids_settings_and_need_both(tmp_path: Path) -> None:
    one_group = made(tmp_path / "a", findings={"resources": {"jv": "high", "ur": "high"}})
    assert "low − high" not in {r["query"] for r in one_group}
    no_control = made(tmp_path / "b", contaminate=["de"], exclude=[])
    assert {r["harm"] for r in no_control} == {None}


def test_seeds_are_taken_together(tmp_path: Path) -> None:
    rows = made(tmp_path, seeds=3)
    assert {r["seeds"] for r in rows} == {3}
    assert len(rows) == 2 * 5


def test_seeds_that_are_not_evaluated_are_not_counted(tmp_path: Path) -> None:
    plan = plan_of(contaminate=["none", "de"], unlearn={"none": []}, languages=["en", "ur"], seeds=3)
    store = Store(str(tmp_path))
    fill(plan, store, skip=("de/none/none/2/ur",))
    rows = view("burden", GridResults(plan, store)).to_pylist()
    assert {r["query"]: r["seeds"] for r in rows} == {"en": 3, "ur": 2, "low − high": 2}


def test_the_figure_holds_the_gaps_after_unlearning(tmp_path: Path) -> None:
    plan = plan_of(contaminate=["none", "ur"], unlearn={"none": [], "en": ["en"]}, languages=["en", "ur"])
    store = Store(str(tmp_path))
    fill(plan, store)
    (forest,) = burden.VIEW.charts(GridResults(plan, store))
    assert isinstance(forest, Forest)
    (gap,) = (row for row in forest.rows if row.label == "ur → en")
    assert (gap.tone, gap.threshold) == ("bad", 0)
    assert gap.low > 0
