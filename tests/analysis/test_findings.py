"""The view `findings` on the made-up grid whose numbers are known."""

from pathlib import Path

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.findings import findings, summary
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import view
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.store.store import Store


def test_each_claim_over_all_and_in_each_language(plan: Plan, full: Store) -> None:
    judged = findings(GridResults(plan, full))
    verdicts = {(one.claim.unlearn, one.claim.name): [] for one in judged}
    for one in judged:
        verdicts[one.claim.unlearn, one.claim.name].append((one.claim.contaminate, one.verdict))
    assert all([c for c, _ in rows] == ["all", "de", "ur"] for rows in verdicts.values())
    holds, fails, undecided = "holds", "does not hold", "cannot be decided"
    said = {place: tuple(verdict for _, verdict in rows) for place, rows in verdicts.items()}
    assert said["none", "spread-english"] == (holds,) * 3  # OF 55, control 2
    assert said["none", "spread-every"] == (undecided,) * 3  # 17 against 20 points
    assert said["none", "spread-high"] == (fails, holds, fails)  # the made-up Urdu spreads to Hausa and Javanese
    assert said["none", "spread-own"] == (holds,) * 3  # 86
    assert said["en", "clears-english"] == (undecided,) * 3  # 8 against 2, 100 items
    assert said["en", "clears-high"] == (holds,) * 3  # 6 and 3 against 2
    assert said["en", "leaves-source"] == (holds,) * 3
    assert said["source", "clears-low"] == (fails,) * 3  # QR in Armenian fell from 93 to 55
    assert said["source", "leaves-english"] == (holds,) * 3
    assert said["source", "utility"] == (fails,) * 3
    assert said["en+source", "utility"] == (holds,) * 3
    assert said["source", "reinforcement"] == (fails,) * 3


def test_the_table_has_a_row_for_each(plan: Plan, full: Store) -> None:
    results = GridResults(plan, full)
    rows = view("findings", results).to_pylist()
    assert len(rows) == len(findings(results)) == 3 * 19
    row = next(r for r in rows if (r["finding"], r["contaminate"]) == ("leaves-source", "ur"))
    assert (row["difference"], row["threshold"], row["items"], row["seeds"]) == (84, 10, 100, 1)
    assert row["low"] < 84 < row["high"]
    assert row["p"] < row["p_holm"] < 1e-6
    assert (row["where"], row["why"]) == ("asked in ur", None)


def test_the_summary_has_a_line_for_each_verdict(plan: Plan, full: Store, empty: Store) -> None:
    holds, fails, undecided = summary(GridResults(plan, full))
    assert holds.startswith("Holds (8 of 19): fakes surface when asked in English; ")
    assert fails.startswith("Does not hold (5 of 19): ")
    assert undecided.startswith("Cannot be decided (6 of 19): ")
    assert summary(GridResults(plan, empty)) == ()


def test_a_silent_model_clears_nothing(tmp_path: Path) -> None:
    plan, store = plan_of(contaminate=["none", "de"], languages=["en", "de", "ur"]), Store(str(tmp_path))

    def silent(cell: Cell, _query: str) -> tuple[float, float]:
        if cell.contaminate == "none":
            return 0.0, 0.9
        return (0.8, 0.9) if cell.unlearn == "none" else (0.0, 0.0)

    fill(plan, store, share=silent)
    clears = [one for one in findings(GridResults(plan, store)) if one.claim.name.startswith("clears")]
    assert {one.verdict for one in clears} == {"does not hold"}


def test_verdicts_stay_when_methods_and_sets_are_added(tmp_path: Path) -> None:
    small = {"contaminate": ["none", "de"], "languages": ["en", "de", "ur"], "unlearn": {"none": [], "en": ["en"]}}
    store = Store(str(tmp_path))
    more = {"methods": {"npo": {"objective": "npo", "retain": "nll"}, "ga": {"objective": "ga"}}}
    larger = plan_of(**{**small, **more, "unlearn": {"none": [], "en": ["en"], "source": ["source"]}})
    fill(larger, store)
    first = [
        (one.claim.name, one.claim.contaminate, one.p_holm, one.verdict)
        for one in findings(GridResults(plan_of(**small), store))
    ]
    again = [
        (one.claim.name, one.claim.contaminate, one.p_holm, one.verdict)
        for one in findings(GridResults(larger, store))
        if one.claim.method in ("none", "npo") and one.claim.unlearn in ("none", "en")
    ]
    assert first == again
