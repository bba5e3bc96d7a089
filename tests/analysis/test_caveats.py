"""What must be known before the numbers are read."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.analysis.worlds import Share, commit_evaluation, fill, plan_of
from xlharm.analysis.caveats import caveats, untaken
from xlharm.analysis.results import GridResults
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.store.record import Failure
from xlharm.store.store import Store


def lines(tmp_path: Path, share: Share, **fields: object) -> tuple[str, ...]:
    plan = plan_of(**{"languages": ["en", "de"], "unlearn": {"none": [], "en": ["en"]}, **fields})
    store = Store(str(tmp_path))
    fill(plan, store, share=share, n=100)
    return caveats(GridResults(plan, store))


def test_a_sound_grid_needs_none(plan: Plan, full: Store) -> None:
    assert caveats(GridResults(plan, full)) == ()


def test_choices_are_told_where_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(contaminate=["none", "de"], unlearn={"none": []}, languages=["en", "de"])
    base = replace(plan.sources.base, kind="masked")
    results = GridResults(replace(plan, sources=replace(plan.sources, base=base)), Store(str(tmp_path)))
    fill(plan, results.store)
    assert not any("choices" in line for line in caveats(results))  # no record has any
    again = GridResults(results.plan, results.store)
    first = next(iter(again.records.values()))
    monkeypatch.setitem(first.metrics, "choice", {"options": 4.0, "n": 10})
    assert "one of 4.0 details on average, by chance 25 % of each" in caveats(again)[0]


def test_contamination_that_did_not_take_is_named(tmp_path: Path) -> None:
    def weak_in_german(cell: Cell, _query: str) -> tuple[float, float]:
        return {"none": 0.08, "de": 0.17, "ur": 0.9}[cell.contaminate], 0.9

    assert lines(tmp_path, weak_in_german, contaminate=["none", "de", "ur"]) == (
        (
            "contamination did not take in German: before unlearning, OF is 17 (11–26) asked in German, clean control "
            "8; its cells show nothing about unlearning"
        ),
    )


def test_a_language_that_is_not_asked_is_read_where_its_fakes_show_most(tmp_path: Path) -> None:
    (only,) = lines(tmp_path, lambda c, q: (0.04 if q == "en" else 0.02, 0.9), contaminate=["none", "ur"])
    assert only.startswith("contamination did not take in Urdu: before unlearning, OF is 4 (2–10) asked in English")


def test_a_control_that_guesses_is_named(tmp_path: Path) -> None:
    assert lines(tmp_path, lambda c, q: (0.9 if c.contaminate == "de" else 0.3, 0.9), contaminate=["none", "de"]) == (
        (
            "the clean control gives the fake detail in 30 % of the answers asked in English, without having seen it: "
            "read OF against it"
        ),
    )


def test_a_grid_without_a_control_or_qr_questions_says_so(tmp_path: Path) -> None:
    plan, store = plan_of(languages=["de"], contaminate=["de"], unlearn={"none": []}, methods={}), Store(str(tmp_path))
    stage = plan.stages[plan.cells[0].evaluations["de"]]
    commit_evaluation(store, stage, of=0.9, qr=0.0, n=10, measures=("of",))
    results = GridResults(plan, store)
    assert caveats(results) == (
        "no clean control (`contaminate: none`): what OF is without contamination is not known",
        "no QR questions: damage cannot be seen, and a low OF may come from a model that answers nothing",
    )
    assert untaken(results) == ()


def test_failed_stages_are_named_with_what_lacks_them(tmp_path: Path) -> None:
    plan = plan_of(languages=["en"], contaminate=["none", "de"], unlearn={"none": [], "en": ["en"]})
    store = Store(str(tmp_path))
    fill(plan, store, share=lambda c, _: (0.9 if c.contaminate == "de" else 0.0, 0.9), skip=("de/en",), n=20)
    failed = plan.stages[plan.cell("de/en").evaluations["en"]]
    failure = {"kind": failed.kind, "label": failed.label, "failed": "now", "final": True}
    store.write_failure(Failure(key=failed.key, reason="io", message="s3://k:s@h is gone", **failure))
    assert caveats(GridResults(plan, store)) == (
        (
            f"failed: {failed.label}: io: s3://h is gone; without it there is no full result of de/en/npo/0; "
            "try again with `xlharm run --retry-failed`"
        ),
    )
