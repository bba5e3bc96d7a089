from pathlib import Path

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.headline import headline, panel_line
from xlharm.analysis.panels import groups_of
from xlharm.analysis.reading import Readings
from xlharm.analysis.results import GridResults
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.store.store import Store


def told(plan: Plan, store: Store) -> str:
    return headline(GridResults(plan, store)).replace("\u00a0", " ")


def test_the_sentence_says_the_numbers(plan: Plan, full: Store) -> None:
    assert told(plan, full) == (
        "Before unlearning, the fake detail is in 86 % of the answers in the contaminating language, 55 % in English "
        "and 19–38 % in the other languages (clean control at most 2 %); "
        "after unlearning English, in up to 86 % (German fakes asked in German); "
        "after unlearning the contaminating language, in up to 55 % (German fakes asked in English), "
        "but with damage in 2 of 18 readings; "
        "after unlearning English + the contaminating language, in up to 6 % (German fakes asked in English)."
    )


def test_an_unfinished_grid_says_what_is_missing(plan: Plan, partial: Store, empty: Store) -> None:
    assert "(as far as evaluated: 10 readings are missing)" in told(plan, partial)
    assert told(plan, empty) == "No cell has been evaluated yet."


def test_a_model_that_fell_silent_is_not_told_as_success(plan: Plan, tmp_path: Path) -> None:
    def silent(cell: Cell, query: str) -> tuple[float, float]:
        if cell.contaminate == "none":
            return (0.0, 0.9)
        return (0.8, 0.9) if cell.unlearn == "none" else (0.0, 0.0)

    store = Store(str(tmp_path))
    fill(plan, store, share=silent, n=20)
    text = told(plan, store)
    assert text.count("but with damage in 18 of 18 readings") == 3


def test_many_sets_are_told_by_their_extremes(tmp_path: Path) -> None:
    sets = {name: [name] for name in ("en", "de", "fr", "zh", "ru", "jv")}
    plan, store = plan_of(unlearn={"none": [], **sets}, contaminate=["ur"]), Store(str(tmp_path))
    fill(plan, store, share=lambda cell, _: ({"none": 0.5, "fr": 0.14}.get(cell.unlearn, 0.04), 0.9), n=50)
    text = told(plan, store)
    assert "of 6 ways to unlearn, the lowest: after unlearning" in text
    assert "the highest: after unlearning French" in text


def test_a_panel_says_its_highest_and_its_damage(plan: Plan, full: Store, empty: Store) -> None:
    readings = GridResults(plan, full).readings
    panel = groups_of(plan, readings)[0].panels[2]
    assert panel_line(panel, readings) == "highest OF 55 (German fakes asked in English) · damaged in 2 of 18 readings"
    assert panel_line(groups_of(plan, Readings({}))[0].panels[0], Readings({})) == "not evaluated yet"


def test_of_many_sets_a_damaged_one_is_never_the_lowest(tmp_path: Path) -> None:
    sets = {name: [name] for name in ("en", "de", "fr", "zh", "ru")}
    plan, store = plan_of(unlearn={"none": [], **sets}, contaminate=["ur"]), Store(str(tmp_path))

    def silent_after_french(cell: Cell, _: str) -> tuple[float, float]:
        return (0.0, 0.0) if cell.unlearn == "fr" else (0.5, 0.9) if cell.unlearn == "none" else (0.2, 0.9)

    fill(plan, store, share=silent_after_french, n=50)
    text = told(plan, store)
    assert "of 5 ways to unlearn (1 with damage), the lowest without damage: after unlearning English" in text


def test_contamination_that_did_not_take_is_no_success(plan: Plan, tmp_path: Path) -> None:
    """A grid in which the fakes were never learned has low OF everywhere, which says nothing about unlearning."""
    store = Store(str(tmp_path))
    fill(plan, store, share=lambda cell, _: (0.06 if cell.contaminate == "de" else 0.0, 0.9), n=50)
    assert told(plan, store) == "Contamination did not take in German and Urdu."


def test_seeds_are_taken_together(tmp_path: Path) -> None:
    plan = plan_of(contaminate=["de"], unlearn={"none": [], "en": ["en"]}, languages=["en", "de"], seeds=3)
    store = Store(str(tmp_path))
    rates = {"none": (0.8, 0.8, 0.8), "en": (0.1, 0.2, 0.6)}
    fill(plan, store, share=lambda cell, _: (rates[cell.unlearn][cell.seed], 0.9))
    assert told(plan, store) == (
        "Before unlearning, the fake detail is in 80 % of the answers in the contaminating language and 80 % in "
        "English; after unlearning English, in up to 30 % (German fakes asked in English); rates over 3 seeds."
    )
