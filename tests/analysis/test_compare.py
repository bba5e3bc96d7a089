"""Grids against each other: what is joined, and numbers worked out by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.analysis.worlds import commit_evaluation, fill, study_like
from tests.plan.worlds import grid_of, sources
from xlharm.analysis.compare import Comparison
from xlharm.analysis.contrasts import Contrasts, Pair
from xlharm.analysis.results import GridResults
from xlharm.config.load import parse_grid
from xlharm.errors import UserError
from xlharm.plan.build import build
from xlharm.plan.cells import Cell
from xlharm.store.store import Store

SETS = {"none": [], "en": ["en"], "en+source": ["en", "source"]}
SMALL: dict[str, Any] = {"languages": ["en", "de"], "contaminate": ["none", "de"], "unlearn": SETS}


def results_of(folder: Path, *, base: str = "base", corpus: dict[str, str] | None = None, **fields: Any) -> GridResults:
    """Return a grid with an empty store."""
    grid = parse_grid(grid_of(**{**SMALL, **fields}), name="grid.yaml")
    return GridResults(build(grid, sources=sources(base=base, corpus=corpus), dtype="float32"), Store(str(folder)))


def answer(results: GridResults, shares: dict[str, float], *, n: int = 10) -> GridResults:
    """Commit evaluations; ``shares`` holds OF by `cell/query` or a prefix of it, and QR is a half everywhere."""
    for cell in results.plan.cells:
        for query, key in cell.evaluations.items():
            name = f"{cell.name}/{query}"
            fitting = [of for prefix, of in shares.items() if name.startswith(prefix)]
            if fitting:
                commit_evaluation(results.store, results.plan.stages[key], of=fitting[-1], qr=0.5, n=n)
    return results


def row_of(table: Any, **where: Any) -> dict[str, Any]:
    (row,) = [row for row in table.to_pylist() if all(row[k] == v for k, v in where.items())]
    return dict(row)


def test_choices_are_compared_with_choices_alone(tmp_path: Path) -> None:
    def masked(results: GridResults) -> GridResults:
        base = replace(results.plan.sources.base, kind="masked")
        plan = replace(results.plan, sources=replace(results.plan.sources, base=base))
        return GridResults(plan, results.store)

    one, other = (results_of(tmp_path / name, name=name) for name in "ab")
    with pytest.raises(UserError, match="compare: a counts choices of a base that fills in masks, and b written answ"):
        Comparison([masked(one), other])
    assert Comparison([masked(one), masked(other)]).notes()[0].startswith("OF and QR are choices of bases that fill in")


def test_the_same_questions_are_paired_by_item(tmp_path: Path) -> None:
    one = answer(results_of(tmp_path / "a", name="a"), {"de/none": 0.6})
    other = answer(results_of(tmp_path / "b", name="b", base="another"), {"de/none": 0.4})
    table = Comparison([one, other]).cells()
    row = row_of(table, measure="OF", contaminate="de", unlearn="none", query="en")
    assert (row["a"], row["b"], row["paired"], row["seeds"], row["items"]) == ("a", "b", "items", 1, 10)
    assert [row[n] for n in ("first", "second", "difference")] == pytest.approx([60, 40, 20])
    # hits fall on the items 1, 3, 4, 6, 8, 9 and 2, 4, 7, 9 of ten: floor((i + 1) h / n) > floor(i h / n)
    hits = [np.isin(np.arange(10), some).astype(float)[None] for some in ([1, 3, 4, 6, 8, 9], [2, 4, 7, 9])]
    low, high = Contrasts.of([Pair(hits[0], np.ones(10), hits[1], np.ones(10))]).limits()
    assert [row["difference_lo"], row["difference_hi"]] == pytest.approx([100 * low[0], 100 * high[0]], rel=1e-5)
    assert row["p"] <= row["p_holm"] <= min(1.0, 2 * row["p"]) * (1 + 1e-5)
    quality = row_of(table, measure="QR", contaminate="de", unlearn="none", query="de")
    assert (quality["difference"], quality["p"]) == (0.0, 1.0)


def test_other_questions_are_two_independent_rates(tmp_path: Path) -> None:
    """Newcombe 1998, table II (a): 56 of 70 against 48 of 80, method 10: 0.0524 to 0.3339."""
    one = answer(results_of(tmp_path / "a", name="a"), {"de/none": 0.8}, n=70)
    other = answer(results_of(tmp_path / "b", name="b", corpus={"en": "another"}), {"de/none": 0.6}, n=80)
    table = Comparison([one, other]).cells()
    row = row_of(table, measure="OF", contaminate="de", unlearn="none", query="en")
    assert (row["paired"], row["items"]) == ("cells", 70)
    assert row["difference"] == pytest.approx(20)
    assert row["difference_lo"] == pytest.approx(5.24, abs=0.005)
    # the upper limit is at least 1.96 standard deviations away: √(.7917·.2083/72 + .5976·.4024/82) = .0723
    assert row["difference_hi"] == pytest.approx(20 + 1.96 * 7.228, abs=0.02)
    assert row_of(table, measure="OF", contaminate="de", unlearn="none", query="de")["paired"] == "items"


def test_a_set_is_compared_over_all_its_places(tmp_path: Path) -> None:
    first = {"none": 0.0, "de/none": 0.6, "de/none/none/0/de": 0.2, "de/en/": 0.1, "de/en+de": 0.0}
    second = {"none": 0.0, "de/none": 0.4, "de/en/": 0.5, "de/en+de": 0.0}
    one, other = (answer(results_of(tmp_path / n, name=n), s, n=30) for n, s in (("a", first), ("b", second)))
    comparison = Comparison([one, other])
    before = row_of(comparison.sets(), measure="OF", unlearn="none", contaminate="all")
    # asked in en and de: (60 + 20) / 2 and (40 + 40) / 2
    assert (before["places"], before["items"], before["paired"]) == (2, 30, "items")
    assert [before[n] for n in ("first", "second", "difference")] == pytest.approx([40, 40, 0])
    english = row_of(comparison.sets(), measure="OF", unlearn="en", contaminate="all")
    assert [english[n] for n in ("places", "first", "second", "difference")] == pytest.approx([2, 10, 50, -40])
    assert english["difference_hi"] < 0
    assert english["p_holm"] == pytest.approx(5 * english["p"], rel=1e-4)  # the smallest of five
    both = row_of(comparison.sets(), measure="OF", unlearn="en+source")  # `en+de` by its role
    assert (both["places"], both["difference"]) == (2, 0.0)
    control = row_of(comparison.sets(), measure="OF", unlearn="none", contaminate="none")
    assert (control["places"], control["first"], control["second"]) == (2, 0.0, 0.0)


def test_a_damaged_evaluation_is_not_said_to_be_waited_for(tmp_path: Path) -> None:
    one, other = (answer(results_of(tmp_path / n, name=n), {"none": 0.0, "de": 0.5}) for n in ("a", "b"))
    key = next(cell for cell in other.plan.cells if cell.contaminate == "de").evaluations["en"]
    (other.store.path("evaluate", key) / "rows.parquet").write_bytes(b"")
    (row,) = Comparison([one, other]).alone().to_pylist()
    assert (row["grid"], row["contaminate"], row["query"], row["why"]) == ("a", "de", "en", "damaged in b")


def test_places_without_a_partner_are_named(tmp_path: Path) -> None:
    one = results_of(tmp_path / "a", name="a", contaminate=["none", "de", "ur"])
    answer(one, {"none": 0.0, "de": 0.5, "ur": 0.5})
    other = answer(results_of(tmp_path / "b", name="b", languages=["en", "de", "fr"]), {"none": 0.0, "de/none": 0.5})
    comparison = Comparison([one, other])
    rows = comparison.alone().to_pylist()
    assert {(r["grid"], r["contaminate"]) for r in rows if r["why"] == "not in b"} == {("a", "ur")}
    assert {r["query"] for r in rows if r["why"] == "not in a"} == {"fr"}
    unfinished = {(r["grid"], r["contaminate"], r["unlearn"]) for r in rows if r["why"] == "not evaluated yet in b"}
    assert unfinished == {("a", "de", "en"), ("a", "de", "en+de")}
    assert comparison.notes()[1:3] == (
        "a: 10 of 16 places have no partner (not evaluated yet in b; not in b): --view alone",
        "b: 5 of 15 places have no partner (not in a): --view alone",
    )
    apart = answer(results_of(tmp_path / "c", name="c", seeds=[1]), {"de": 0.5, "none": 0.0})
    assert {r["why"] for r in Comparison([one, apart]).alone().to_pylist()} == {"no seed in common", "not in c"}


def test_methods_of_other_names_are_compared_if_each_is_the_only_one(tmp_path: Path) -> None:
    ga = {"ga": {"objective": "ga"}}
    two = {"npo": {"objective": "npo"}, "dpo": {"objective": "dpo"}}
    one, other, several = (
        answer(results_of(tmp_path / n, name=n, methods=m), {"": 0.5})
        for n, m in (("a", {"npo": {"objective": "npo"}}), ("b", ga), ("c", two))
    )
    comparison = Comparison([one, other])
    row = row_of(comparison.sets(), measure="OF", unlearn="en", contaminate="all")
    assert (row["method"], row["method_b"]) == ("npo", "ga")
    assert "npo of a is compared with ga of b" in comparison.notes()
    assert "methods.ga" in comparison.notes()[0]
    left = Comparison([other, several]).alone().to_pylist()
    assert {(r["grid"], r["method"], r["why"]) for r in left} == {
        ("b", "ga", "not in c"), ("c", "npo", "not in b"), ("c", "dpo", "not in b")
    }  # fmt: skip


def test_verdicts_stand_side_by_side(tmp_path: Path) -> None:
    def uncleared(cell: Cell, query: str) -> tuple[float, float]:
        of, qr = study_like(cell, query)
        return (0.6 if cell.unlearn == "en+de" else of), qr

    one, other, empty = (results_of(tmp_path / n, name=n) for n in ("a", "b", "c"))
    fill(one.plan, one.store)
    fill(other.plan, other.store, share=uncleared)
    table = Comparison([one, other]).findings()
    assert table.column_names[-3:] == ["a", "b", "agree"]
    cleared = row_of(table, finding="clears-all", contaminate="all")
    assert (cleared["a"], cleared["b"], cleared["agree"]) == ("holds", "does not hold", "no")
    spread = row_of(table, finding="spread-english", contaminate="all")
    assert (spread["a"], spread["b"], spread["agree"]) == ("holds", "holds", "yes")
    assert (
        "Contradict: unlearning English and the contaminating language clears every language"
        in (Comparison([one, other]).notes()[-1])
    )
    missing = row_of(Comparison([one, empty]).findings(), finding="clears-all", contaminate="all")
    assert (missing["c"], missing["agree"]) == (None, "open")


def test_what_differs_is_said(tmp_path: Path) -> None:
    one, other = results_of(tmp_path / "a"), results_of(tmp_path / "b", base="another", lora={"rank": 8})
    comparison = Comparison([one, other])
    assert comparison.labels == ["g#1", "g#2"]
    assert comparison.notes()[0] == (
        "g#2 differs from g#1 in base: tiny-base (base) -> tiny-base (another); lora.rank: 16 -> 8"
    )
    assert Comparison([one, one]).notes()[0] == "g#2 has the settings of g#1"


def test_one_grid_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected two grids or more"):
        Comparison([results_of(tmp_path / "a")])
    with pytest.raises(UserError, match="--view set: expected one of sets, cells"):
        Comparison([results_of(tmp_path / "a")] * 2).table("set")
