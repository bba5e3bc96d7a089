import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.analysis.worlds import commit_evaluation, fill, plan_of
from xlharm.analysis.results import GridResults
from xlharm.analysis.table import render, write
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.store.store import Store

COLUMNS = (
    "grid cell contaminate unlearn method seed query n qr qr_lo qr_hi of of_lo of_hi off_language degenerate n_qr "
)
COLUMNS += "items items_qr refusal rouge_l chrf"


def test_one_row_for_each_cell_and_language_in_the_grids_order(plan: Plan, full: Store) -> None:
    table = GridResults(plan, full).table
    assert table.column_names == COLUMNS.split()
    rows = table.to_pylist()
    assert [(r["cell"], r["query"]) for r in rows] == [(c.name, q) for c in plan.cells for q in plan.grid.languages]


def test_rates_are_percentages_with_wilson_bounds(plan: Plan, full: Store) -> None:
    row = next(
        r for r in GridResults(plan, full).table.to_pylist() if (r["cell"], r["query"]) == ("ur/none/none/0", "ur")
    )
    # by hand, 86 of 100, z = 1.959964: (0.86 + 0.019207 ± 0.069110) / 1.038415
    assert (row["of"], row["of_lo"], row["of_hi"]) == (86.0, 77.86, 91.47)
    assert (row["qr"], row["n"], row["n_qr"]) == (93.0, 100, 100)


def test_what_is_not_done_is_absent(plan: Plan, partial: Store, empty: Store) -> None:
    cells = {r["cell"] for r in GridResults(plan, partial).table.to_pylist()}
    assert cells
    assert not any(cell.startswith("ur/") for cell in cells)
    assert GridResults(plan, empty).table.num_rows == 0
    assert GridResults(plan, empty).table.column_names == COLUMNS.split()


def test_a_measure_without_questions_is_null_and_not_zero(tmp_path: Path) -> None:
    plan, store = (
        plan_of(languages=["en"], contaminate=["none"], unlearn={"none": []}),
        Store(str(tmp_path)),
    )
    commit_evaluation(store, plan.stages[plan.cells[0].evaluations["en"]], of=0, qr=0, n=0)
    (row,) = GridResults(plan, store).table.to_pylist()
    assert row["of"] is None
    assert row["of_hi"] is None
    assert row["n"] == 0


@pytest.mark.parametrize("damage", ["rows", "record", "counts", "no record"])
def test_a_damaged_evaluation_is_named_and_left_out(tmp_path: Path, damage: str) -> None:
    plan, store = plan_of(languages=["en", "de"], contaminate=["de"]), Store(str(tmp_path))
    fill(plan, store, n=5)
    key = plan.cells[0].evaluations["en"]
    folder = store.path("evaluate", key)
    record = json.loads((folder / "record.json").read_text())
    match damage:
        case "rows":
            (folder / "rows.parquet").write_bytes(b"PAR1")
        case "record":
            (folder / "record.json").write_text("{")
        case "no record":
            (folder / "record.json").unlink()
        case "counts":
            record["metrics"]["of"] = {"hits": 1, "n": 5}
            (folder / "record.json").write_text(json.dumps(record))
    results = GridResults(plan, store)
    assert results.table.num_rows == sum(len(c.evaluations) for c in plan.cells) - 1
    assert len(results.damaged) == 1
    assert plan.cells[0].name in results.damaged[0]


def test_a_remote_store_gives_the_same_table(plan: Plan, full: Store) -> None:
    import fsspec

    fsspec.filesystem("memory").store.clear()
    remote = Store("memory://bucket/store")
    fill(plan, remote, hostile=True)
    assert render(GridResults(plan, remote).table, form="csv") == render(GridResults(plan, full).table, form="csv")


def test_every_format_says_the_same(plan: Plan, full: Store, tmp_path: Path) -> None:
    table = GridResults(plan, full).table
    rows = table.to_pylist()
    assert json.loads(render(table, form="json")) == rows
    assert pq.read_table(write(table, tmp_path / "deep" / "r.parquet", form="parquet")).to_pylist() == rows
    text = render(table, form="csv").decode()
    read = list(csv.DictReader(io.StringIO(text)))
    assert [float(r["of"]) for r in read] == [r["of"] for r in rows]
    assert render(GridResults(plan, full).table, form="csv") == text.encode()


def test_what_cannot_be_written_is_the_users_error(plan: Plan, empty: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    table = GridResults(plan, empty).table
    with pytest.raises(UserError, match="cannot be written"):
        write(table, tmp_path / "file" / "r.csv", form="csv")
    with pytest.raises(UserError, match="expected csv, json or parquet"):
        render(table, form="xml")
