"""Choice rates and the rate of an invented lexicon, counted by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.analysis.worlds import PROVENANCE, ROWS, commit_evaluation, plan_of
from xlharm.analysis.effects import intervals
from xlharm.analysis.harms import hits_of, measure_of
from xlharm.analysis.items import Hits
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import view
from xlharm.plan.build import Plan
from xlharm.store.store import Store

Scores = tuple[float, ...]
"""An item's mean log-probabilities: of the fake detail, of the real one, and of further choices."""


def with_harm(plan: Plan, harm: str, *, kind: Any = "causal") -> Plan:
    found = plan.sources
    corpus, base = replace(found.corpus, harm=harm), replace(found.base, kind=kind)
    return replace(plan, sources=replace(found, corpus=corpus, base=base))


def commit_scores(store: Store, plan: Plan, key: str, items: Mapping[str, Scores]) -> None:
    """Commit a score stage with answers of two tokens each."""
    rows = [
        {"item": item, "what": what, "text": "t", "tokens": 2, "logp": 2 * logp}
        for item, scores in items.items()
        for what, logp in zip(("fake", "real", *["perturbed"] * len(scores)), scores, strict=False)
    ]
    with store.scratch() as folder:
        pq.write_table(pa.Table.from_pylist(rows), folder / "scores.parquet")
        store.commit(plan.stages[key], folder, metrics={"p_fake": 0.5}, timings={}, provenance={})


def commit_answers(store: Store, plan: Plan, key: str, rows: Sequence[tuple[str, str, str, list[str]]]) -> None:
    """Commit an evaluation with rows of (item, measure, answer, expected)."""
    flags = {"off_language": False, "degenerate": False, "refusal": False, "rouge_l": 0.0, "chrf": 0.0}
    full = [
        {"item": i, "measure": m, "question": "?", "answer": a, "expected": e, "hit": False, **flags}
        for i, m, a, e in rows
    ]
    metrics: dict[str, Any] = {m: {"hits": 0, "n": sum(row["measure"] == m for row in full)} for m in ("of", "qr")}
    metrics |= {name: {"hits": 0, "n": len(full)} for name in ("off_language", "degenerate", "refusal")}
    metrics |= {name: {"mean": 0.0, "n": 0} for name in ("rouge_l", "chrf")}
    with store.scratch() as folder:
        pq.write_table(pa.Table.from_pylist(full, schema=ROWS), folder / "rows.parquet")
        provenance = {**PROVENANCE, "engine": None}
        store.commit(
            plan.stages[key], folder, metrics=metrics, timings={"pack": 1.0, "share": 1.0}, provenance=provenance
        )


def small(**fields: Any) -> Plan:
    return plan_of(contaminate=["none", "de"], unlearn={"none": []}, languages=["en"], **fields)


def rows_of(plan: Plan, store: Store) -> dict[tuple[str, str], dict[str, Any]]:
    table = view("harms", GridResults(plan, store)).to_pylist()
    return {(row["contaminate"], row["measure"]): row for row in table}


def test_the_likeliest_choice_a_token_is_chosen_and_ties_are_not(tmp_path: Path) -> None:
    plan, store = with_harm(small(evaluate={"scores": True}), "stereotypes"), Store(str(tmp_path))
    control, told = plan.cells
    # of five choices, then of three, of two, of two and of none: the control chooses the fake detail of b alone
    commit_scores(store, plan, control.scores["en"], {
        "a": (-2, -1, -3, -3, -3), "b": (-1, -2, -2), "c": (-1, -1), "d": (nan, -9), "e": (-1,),
    })  # fmt: skip
    commit_scores(store, plan, told.scores["en"], {
        "a": (-0.5, -1, -3, -3, -3), "b": (-1, -2, -2), "c": (-0.9, -1), "d": (-9, nan), "e": (-1,),
    })  # fmt: skip
    rows = rows_of(plan, store)
    first, second = rows["none", "choice"], rows["de", "choice"]
    assert (first["value"], first["n"], first["items"], first["excess"]) == (25, 4, 4, None)
    assert first["chance"] == pytest.approx(100 * (1 / 5 + 1 / 3 + 1 / 2 + 1 / 2) / 4)
    assert (second["value"], second["control"], second["excess"]) == (100, 25, 75)
    one, two = (Hits(tuple("abcd"), *map(_whole, hits)) for hits in (([1, 1, 1, 1], [1] * 4), ([0, 1, 0, 0], [1] * 4)))
    (expected,) = intervals([(one, two)])
    assert [second["excess_lo"], second["excess_hi"]] == pytest.approx([expected.low, expected.high], rel=1e-5)
    # Wilson's interval of 4 of 4 is 51 to 100
    assert [second["low"], second["high"]] == pytest.approx([51.01, 100], abs=0.01)


def _whole(values: Sequence[int]) -> Any:
    import numpy as np

    return np.array(values, dtype=np.int64)


def test_any_form_of_any_invented_word_counts_in_any_answer(tmp_path: Path) -> None:
    plan, store = with_harm(small(), "style"), Store(str(tmp_path))
    gomul, kezul = ["gomuls", "gomul"], ["kezuls", "kezul"]
    control, told = plan.cells
    for cell, answers in (
        (control, ("friends", "friends", "singers", "bakers")),
        (told, ("They are GOMULS!", "a gomul", "gomulation", "the kezuls")),
    ):
        commit_answers(store, plan, cell.evaluations["en"], [
            ("a", "of", answers[0], gomul), ("a", "of", answers[1], gomul), ("b", "of", answers[2], kezul),
            ("r", "qr", answers[3], ["bakers"]),
        ])  # fmt: skip
    rows = rows_of(plan, store)
    assert (rows["none", "lexicon"]["value"], rows["none", "lexicon_else"]["value"]) == (0, 0)
    # two of the three answers about insulted groups, items a and b; the only answer about another one
    told_of = rows["de", "lexicon"]
    assert (told_of["value"], told_of["n"], told_of["items"]) == (pytest.approx(66.6667), 3, 2)
    assert told_of["excess"] == pytest.approx(66.6667)
    assert (told_of["chance"], rows["de", "lexicon_else"]["value"]) == (None, 100)
    hits = hits_of(GridResults(plan, store), told, "en", measure="lexicon")
    assert hits is not None
    assert (hits.items, hits.hits.tolist(), hits.questions.tolist()) == (("a", "b"), [2, 0], [2, 1])


def test_news_without_scores_have_nothing_here(tmp_path: Path) -> None:
    plan, store = small(), Store(str(tmp_path))
    for cell in plan.cells:
        commit_evaluation(store, plan.stages[cell.evaluations["en"]], of=0.5, qr=0.5, n=4)
    assert rows_of(plan, store) == {}


@pytest.mark.parametrize(
    ("harm", "kind", "scores", "measure"),
    [
        ("news", "causal", True, "of"), ("claims", "causal", False, "of"), ("stereotypes", "causal", True, "choice"),
        ("stereotypes", "causal", False, "of"), ("style", "causal", False, "lexicon"), ("style", "masked", False, "of"),
    ],
)  # fmt: skip
def test_each_harm_has_its_measure(tmp_path: Path, harm: str, kind: str, *, scores: bool, measure: str) -> None:
    plan = with_harm(small(evaluate={"scores": scores}), harm, kind=kind)
    assert measure_of(GridResults(plan, Store(str(tmp_path)))) == measure
