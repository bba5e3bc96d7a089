"""Shares and overlaps by hand; how often the interval of an overlap covers the truth."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.analysis.worlds import PROVENANCE, plan_of
from xlharm.analysis.attribution import Variants, overlap, overlap_rows, share_rows
from xlharm.analysis.charts import Forest
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import VIEWS, view
from xlharm.store.store import Store

ITEMS = 20


def table(hits: dict[tuple[str, str], int], *, qr: int = 10, loops: int = 0, start: int = 0) -> pa.Table:
    """Return verdicts on 20 items: of each variant so many OF hits, on consecutive items from ``start`` on."""
    rows: list[dict[str, Any]] = []
    for (by, part), count in hits.items():
        for i in range(ITEMS):
            hit = (i - start) % ITEMS < count
            rows.append({"by": by, "part": part, "item": f"i{i}", "measure": "of", "hit": hit, "degenerate": i < loops})
            rows.append({"by": by, "part": part, "item": f"i{i}", "measure": "qr", "hit": i < qr, "degenerate": False})
    return pa.Table.from_pylist(rows)


HITS = {("none", ""): 10, ("all", ""): 0, ("layer", "0"): 8, ("layer", "1"): 5, ("module", "mlp"): 12}


def test_shares_are_what_is_gone_of_what_was_there() -> None:
    rows = list(share_rows({"en": Variants(table(HITS, loops=4))}))
    of = {(r["by"], r["part"]): r for r in rows if r["measure"] == "of_share"}
    assert {key: r["value"] for key, r in of.items()} == pytest.approx(
        {("all", ""): 100, ("layer", "0"): 20, ("layer", "1"): 50, ("module", "mlp"): -20}
    )
    assert {key: r["left"] for key, r in of.items()} == pytest.approx(
        {("all", ""): 0, ("layer", "0"): 40, ("layer", "1"): 25, ("module", "mlp"): 60}
    )
    assert all(r["low"] < r["value"] < r["high"] for key, r in of.items() if key != ("all", ""))
    assert 50 < of["all", ""]["low"] < 100 == of["all", ""]["high"]  # none of 20 is not none of all
    assert {r["degenerate"] for r in of.values()} == {10.0}  # 4 of 40 answers
    assert {r["value"] for r in rows if r["measure"] == "qr_share"} == {0}
    assert all(r["items"] == ITEMS for r in rows)


def test_where_there_is_no_fake_no_part_carries_it() -> None:
    rows = list(share_rows({"en": Variants(table(dict.fromkeys(HITS, 0)))}))
    assert {r["measure"] for r in rows} == {"qr_share"}


def test_overlap_is_the_cosine_of_what_is_lost() -> None:
    # lost by layers 0, 1: (4, 3) and (0, 5): 15 / (5 · 5); and 3 items that two languages lose alike: 1
    one, two = np.zeros((2, 12, 2))
    one[:4, 0], one[4:7, 1], two[:5, 1] = 1, 1, 1
    whole = 0.6
    without = np.array([_cosine(np.delete(one, i, 0), np.delete(two, i, 0)) for i in range(12)])
    found = overlap([(one, two)])
    assert found is not None
    assert found.estimate == pytest.approx(12 * whole - 11 * without.mean())
    assert found.low < 0.6 < found.high
    assert overlap([(one, one)]) == pytest.approx((1, 1, 1))
    assert overlap([(one, np.zeros((12, 2)))]) is None


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    x, y = a.sum(0), b.sum(0)
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def test_overlaps_are_of_each_pair_and_of_all() -> None:
    same = {("none", ""): 10, ("all", ""): 0, ("layer", "0"): 2, ("layer", "1"): 10, ("module", "mlp"): 4}
    other = {**same, ("layer", "0"): 10, ("layer", "1"): 2}
    tables = {"en": table(same), "de": table(same, start=5), "ur": table(other)}
    rows = list(overlap_rows({query: Variants(t) for query, t in tables.items()}))
    found = {(r["query"], r["other"]): r["value"] for r in rows if r["by"] == "layer"}
    assert found == pytest.approx({("en", "de"): 1, ("en", "ur"): 0, ("de", "ur"): 0, ("all", "all"): 1 / 3}, abs=1e-9)
    assert not [r for r in rows if r["by"] == "all"]


def test_the_view_reads_every_probe_of_a_grid(tmp_path: Path) -> None:
    probes = {"parts": {"kind": "ablate", "queries": ["en", "de"]}, "wide": {"kind": "ablate", "queries": ["ur"]}}
    plan = plan_of(
        contaminate=["de"], unlearn={"none": [], "en": ["en"]}, languages=["en", "de", "ur"], probes=probes,
    )  # fmt: skip
    store = Store(str(tmp_path))
    done = plan.cell("de/en/npo/0")
    results = GridResults(plan, store)
    assert view("attribution", results).num_rows == 0
    for query in ("en", "de"):
        with store.scratch() as folder:
            pq.write_table(table(HITS), folder / "inside.parquet")
            stage = plan.stages[done.probes["parts"][query]]
            store.commit(stage, folder, metrics={"rows": 1}, timings={"pack": 1.0}, provenance=PROVENANCE)
    found = view("attribution", GridResults(plan, store)).to_pylist()
    assert {(r["cell"], r["probe"], r["seed"]) for r in found} == {("de/en/npo/0", "parts", 0)}
    assert {(r["query"], r["measure"]) for r in found} == {
        *((q, m) for q in ("en", "de") for m in ("of_share", "qr_share")), ("en", "overlap"),
    }  # fmt: skip
    charts = VIEWS["attribution"].charts(GridResults(plan, store))
    assert [c.name for c in charts] == [f"attribution-de-en-npo-0-{by}-of_share" for by in ("layer", "module")]
    assert isinstance(charts[0], Forest)
    assert [(e.label, e.value) for e in charts[0].rows] == [
        ("layer 0 · en", 20), ("layer 1 · en", 50), ("layer 0 · de", 20), ("layer 1 · de", 50)
    ]  # fmt: skip
    assert view("probes", GridResults(plan, store)).num_rows == 0  # these are no answers to set beside others


@pytest.mark.heavy
def test_the_interval_of_an_overlap_covers_the_truth() -> None:
    """50 items, two questions each, easy and hard items: 95 % intervals cover the true overlap in 93 to 99 %."""
    rng = np.random.default_rng(0)
    sizes = {
        "the same": ([0.3, 0.2, 0.1, 0.05, 0.05, 0.0], [0.3, 0.2, 0.1, 0.05, 0.05, 0.0]),
        "some": ([0.3, 0.2, 0.1, 0.05, 0.05, 0.0], [0.1, 0.2, 0.3, 0.05, 0.0, 0.05]),
        "others": ([0.6, 0.05, 0.02, 0.0, 0.0, 0.0], [0.0, 0.05, 0.02, 0.6, 0.0, 0.0]),
    }
    for name, (one, two) in sizes.items():
        truth = _cosine(*(_lost(rng, s, easy=rng.normal(0, 1.5, 40_000)) for s in (one, two)))
        covered = 0
        for _ in range(400):
            easy = rng.normal(0, 1.5, 50)
            found = overlap([(_lost(rng, one, easy=easy), _lost(rng, two, easy=easy))])
            assert found is not None
            covered += found.low <= truth <= found.high
        print(f"overlap of {name}: truth {truth:.2f}, covered {covered / 4:.1f} %")
        assert 0.925 <= covered / 400 <= 1


def _lost(rng: np.random.Generator, drops: list[float], *, easy: np.ndarray) -> np.ndarray:
    """Draw by how many of two hits each item has fewer without each part; the whole has an OF near 80 %."""

    def odds(rate: float) -> float:
        return float(np.log(rate / (1 - rate)) * 1.35)

    of_item = (easy + rng.normal(0, 0.7, len(easy)))[:, None, None]
    of_question = rng.logistic(size=(len(easy), 2, 1)) * 0.6
    whole = odds(0.8) + of_item + of_question > 0
    left = np.array([odds(0.8 - drop) for drop in drops]) + of_item + of_question
    without = left + rng.logistic(size=(len(easy), 2, len(drops))) * 0.3 > 0
    return np.asarray((whole.astype(float) - without).sum(1))
