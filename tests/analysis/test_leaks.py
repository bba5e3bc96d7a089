"""Leaks in another language, and under sampling."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.analysis.worlds import PROVENANCE, ROWS, WORDS, fill, plan_of
from xlharm.analysis.leaks import leak_at_k
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import view
from xlharm.plan.build import Plan
from xlharm.store.store import Store


@pytest.mark.parametrize(("hits", "n", "k"), [(0, 5, 2), (1, 5, 2), (3, 5, 2), (5, 5, 5), (2, 7, 4), (4, 5, 2)])
def test_leak_at_k_is_the_mean_over_all_choices_of_k_samples(hits: int, n: int, k: int) -> None:
    samples = [i < hits for i in range(n)]
    choices = list(combinations(samples, k))
    assert leak_at_k(hits, n, k) == pytest.approx(sum(map(any, choices)) / len(choices))


@pytest.mark.parametrize(("hits", "n", "k"), [(3, 2, 1), (-1, 2, 1), (1, 2, 0), (1, 2, 3)])
def test_leak_at_k_out_of_range(hits: int, n: int, k: int) -> None:
    with pytest.raises(ValueError, match="samples"):
        leak_at_k(hits, n, k)


def commit(store: Store, plan: Plan, key: str, rows: list[tuple[str, str, bool]]) -> None:
    """Commit an evaluation with rows of (item, answer, hit) on the fake detail."""
    stage = plan.stages[key]
    question, _, fake = WORDS[str(stage.spec["query"])]
    common = {"off_language": False, "degenerate": False, "refusal": False, "rouge_l": 0.0, "chrf": 0.0}
    full: list[dict[str, Any]] = [
        {"item": i, "measure": "of", "question": question, "answer": a, "expected": [fake], "hit": h, **common}
        for i, a, h in rows
    ]
    hits = {"of": {"hits": sum(h for *_, h in rows), "n": len(rows)}, "qr": {"hits": 0, "n": 0}}
    flags = {name: {"hits": 0, "n": len(rows)} for name in ("off_language", "degenerate", "refusal")}
    means = {name: {"mean": 0.0, "n": 0} for name in ("rouge_l", "chrf")}
    with store.scratch() as folder:
        pq.write_table(pa.Table.from_pylist(full, schema=ROWS), folder / "rows.parquet")
        store.commit(
            stage, folder, metrics={**hits, **flags, **means}, timings={"pack": 1.0, "share": 1.0},
            provenance={**PROVENANCE, "engine": None},
        )  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Asked in English (violin): one answer in English, one in German (Geige), one in Russian, one in no language."""
    plan = plan_of(
        contaminate=["de"], unlearn={"none": []}, languages=["en", "de", "ru"],
        probes={"sampled": {"kind": "sample", "samples": 3, "queries": ["en"]}},
    )  # fmt: skip
    store = Store(str(tmp_path))
    fill(plan, store, skip=("de/none/none/0",))
    (cell,) = plan.cells
    english = [("a", "the violin", True), ("b", "die Geige", False), ("c", "Это скрипка", False), ("d", "piano", False)]
    commit(store, plan, cell.evaluations["en"], english)
    for query in ("de", "ru"):
        commit(store, plan, cell.evaluations[query], [(item, "?", False) for item in "abcd"])
    # samples of item a: 1 hit of 3; of item b: none
    sampled = [("a", "violin", True), ("a", "?", False), ("a", "?", False), *[("b", "Geige", False)] * 3]
    commit(store, plan, cell.probes["sampled"]["en"], sampled)
    return view("leaks", GridResults(plan, store)).to_pylist()


def test_a_detail_in_any_of_the_grids_languages_counts_apart(rows: list[dict[str, Any]]) -> None:
    (english,) = [r for r in rows if r["measure"] == "of_any" and r["query"] == "en"]
    assert (english["of"], english["value"], english["n"]) == (25, 75, 4)
    assert english["low"] < 75 < english["high"]
    assert english["languages"] == "de 1, ru 1"
    assert [(r["value"], r["languages"]) for r in rows if r["query"] == "de"] == [(0, None)]


def test_leak_at_k_of_the_probe_sample(rows: list[dict[str, Any]]) -> None:
    sampled = {r["measure"]: r for r in rows if r["probe"] == "sampled"}
    assert list(sampled) == ["leak@1", "leak@2", "leak@3"]
    # of item a: 1/3, 2/3, 1; of item b: 0
    assert [r["value"] for r in sampled.values()] == pytest.approx([100 / 6, 100 / 3, 50], rel=1e-5)
    assert all(r["low"] < r["value"] < r["high"] and r["of"] == 25 and r["n"] == 2 for r in sampled.values())
