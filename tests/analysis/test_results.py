"""Work is done once: each record is read once and each file verified once, whatever is made of them."""

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from tests.analysis.worlds import fill, plan_of
from xlharm.analysis.effects import effects
from xlharm.analysis.origins import origins
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.views import VIEWS, view
from xlharm.errors import CorruptArtifactError
from xlharm.plan.build import Plan
from xlharm.report.figure import write_figure
from xlharm.report.html import write_report
from xlharm.report.terminal import print_results
from xlharm.store.record import Record
from xlharm.store.store import Store
from xlharm.tracking.mirror import runs_of


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter[str]]:
    """Count what is read and verified, by stage."""
    names = ("record", "verified", "columns", "whole", "list")
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    record_bytes, verify, content, finished = Store.record_bytes, Store.verify, Store.content, Store.finished
    read = GridResults._read

    def count_record(self: Store, kind: str, folder: str) -> bytes:
        counts["record"][folder] += 1
        return record_bytes(self, kind, folder)

    def count_verified(self: Store, record: Record) -> None:
        counts["verified"][record.key[:16]] += 1
        verify(self, record)

    def count_compared(self: Store, record: Record, file: str) -> bytes:
        counts["verified"][record.key[:16]] += 1
        return content(self, record, file)

    def count_rows(self: GridResults, key: str, *, columns: Sequence[str] | None) -> object:
        counts["columns" if columns else "whole"][key[:16]] += 1
        return read(self, key, columns=columns)

    def count_lists(self: Store, kind: str) -> set[str]:
        counts["list"][kind] += 1
        return finished(self, kind)

    monkeypatch.setattr(Store, "record_bytes", count_record)
    monkeypatch.setattr(Store, "finished", count_lists)
    monkeypatch.setattr(Store, "verify", count_verified)
    monkeypatch.setattr(Store, "content", count_compared)
    monkeypatch.setattr(GridResults, "_read", count_rows)
    return counts


@pytest.mark.slow
def test_the_report_the_views_and_the_mirror_read_everything_once(
    plan: Plan, full: Store, tmp_path: Path, reads: dict[str, Counter[str]]
) -> None:
    results = GridResults(plan, full)
    write_report([results], tmp_path / "page.html")
    write_figure(results, tmp_path / "figure.svg")
    for name in VIEWS:
        view(name, results)
    print_results(results, Console(file=io.StringIO()))
    runs_of(results)
    evaluations = {key[:16] for cell in plan.cells for key in cell.evaluations.values()}
    # to count hits, for the view leaks and for the page; these two also ask one cell for what all have in common
    assert set(reads["columns"]) == evaluations
    assert set(reads["columns"].values()) == {3, 5}
    assert not reads["whole"]
    assert reads["verified"] == dict.fromkeys(evaluations, 1)
    assert reads["record"] == dict.fromkeys((key[:16] for key in plan.stages), 1)
    assert reads["list"] == dict.fromkeys({stage.kind for stage in plan.stages.values()}, 1)


def test_damage_is_found_once_and_told_each_time(tmp_path: Path, reads: dict[str, Counter[str]]) -> None:
    plan, store = plan_of(languages=["en"], contaminate=["de"], unlearn={"none": []}), Store(str(tmp_path))
    fill(plan, store, n=4)
    (key,) = plan.cells[0].evaluations.values()
    (store.path("evaluate", key) / "rows.parquet").write_bytes(b"PAR1")
    reads["verified"].clear()
    results = GridResults(plan, store)
    for _ in range(2):
        with pytest.raises(CorruptArtifactError, match="checksum"):
            results.folder(key)
    assert (results.table.num_rows, len(results.damaged), results.rates(key), results.rows(key)) == (0, 1, None, None)
    assert origins(results).missing[0].label == "evaluation"
    assert reads["verified"] == {key[:16]: 1}


def test_a_value_is_computed_once_and_kept(plan: Plan, full: Store) -> None:
    calls: list[GridResults] = []

    @once
    def rows(results: GridResults) -> int:
        """Count."""
        calls.append(results)
        return results.table.num_rows

    one, other = GridResults(plan, full), GridResults(plan, full)
    assert (rows(one), rows(one), rows(other)) == (81, 81, 81)
    assert calls == [one, other]
    assert effects(one) is effects(one)
    assert rows.__doc__ == "Count."
