from dataclasses import replace
from pathlib import Path

from tests.analysis.worlds import plan_of
from xlharm.analysis.results import GridResults
from xlharm.analysis.views import VIEWS
from xlharm.plan.build import Plan
from xlharm.plan.stage import Stage
from xlharm.store.store import Store
from xlharm.tracking.tables import curves_of, kinds_of, sets_of, tables_of


def test_every_view_with_rows_is_a_table_and_every_table_names_its_grid(plan: Plan, full: Store) -> None:
    results = GridResults(plan, full)
    tables = tables_of(results)
    views = {name: view.table(results) for name, view in VIEWS.items()}
    filled = {name for name, table in views.items() if table.num_rows}
    assert {"findings", "methods", "effects", "leaks", "burden"} <= filled
    assert {*tables} == {"results", "of", "qr", "heatmap", "curves", *filled}
    assert all(table.columns[0] == "grid" for table in tables.values())
    assert all(row[0] == "quickstart" for table in tables.values() for row in table.rows)
    assert [len(tables[name].rows) for name in sorted(filled)] == [views[name].num_rows for name in sorted(filled)]
    assert tables["effects"].columns.count("grid") == 1


def test_a_heatmap_has_sets_by_their_names_with_intervals_counts_and_change(plan: Plan, full: Store) -> None:
    results = GridResults(plan, full)
    assert sets_of(results) == ("none", "en", "source", "en+source")
    table = tables_of(results)["heatmap"]
    rows = {tuple(row[2:6]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert len(rows) == len(table.rows) == 9 * 9
    after = rows["source", "npo", "ur", "ur"]
    assert (after["of"], after["of_n"], after["of_items"], after["of_change"]) == (9.0, 100, 100, -77.0)
    assert after["of_lo"] < 9 < after["of_hi"]
    assert (after["measure"], after["qr"]) == ("answers", 90.0)
    assert rows["none", "none", "ur", "ur"]["of_change"] is None


def test_the_models_before_unlearning_stand_once_however_many_methods(small: tuple[Plan, Store]) -> None:
    methods = {"npo": {"objective": "npo", "retain": "nll"}, "ga": {"objective": "ga"}}
    two = plan_of(languages=["en", "ur"], contaminate=["none", "ur"], methods=methods)
    table = tables_of(GridResults(two, small[1]))["heatmap"]
    before = [row for row in table.rows if row[2] == "none"]
    assert len(before) == 2 * 2
    assert {row[3] for row in before} == {"none"}


def test_choices_are_not_taken_for_answers(small: tuple[Plan, Store]) -> None:
    plan, store = small
    masked = replace(plan, sources=replace(plan.sources, base=replace(plan.sources.base, kind="masked")))
    results = GridResults(plan, store)
    assert {row[1] for row in tables_of(results)["heatmap"].rows} == {"answers"}
    results.plan = masked
    assert {row[1] for row in tables_of(results)["heatmap"].rows} == {"choice"}


def test_curves_are_means_over_the_stages_of_a_group(tmp_path: Path) -> None:
    plan = plan_of(languages=["en", "ur"], contaminate=["none", "ur"], seeds=[0, 1])
    store = Store(str(tmp_path))
    for number, stage in enumerate(s for s in plan.stages.values() if s.kind == "contaminate"):
        _train(store, stage, value=float(number))
    results = GridResults(plan, store)
    assert kinds_of(plan) == ("contaminate", "sft", "unlearn")
    table = tables_of(results)["curves"]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    losses = {row["group"]: row for row in rows if row["curve"] == "loss"}
    means = {group: (row["mean"], row["low"], row["high"], row["n"]) for group, row in losses.items()}
    assert means == {"none": (1.0, 0.0, 2.0, 2), "ur": (2.0, 1.0, 3.0, 2)}
    assert {(row["curve"], row["step"]) for row in rows} == {("loss", 0), ("forget_nll", 0)}


def _train(store: Store, stage: Stage, *, value: float) -> None:
    with store.scratch() as folder:
        (folder / "adapter_model.safetensors").write_bytes(b"adapter")
        metrics = {"loss": [[0, value]], "forget_nll": [[0, value]], "moved": 1.0}
        store.commit(stage, folder, metrics=metrics, timings={"pack": 1.0}, provenance={})


def test_curves_of_a_record(tmp_path: Path) -> None:
    found = dict(curves_of({"loss": [[0, 1.0], [1, float("nan")]], "retain_nll": [[0, 2.0]], "moved": 1.0}))
    assert found == {"loss": [(0, 1.0)], "retain_nll": [(0, 2.0)]}


def test_nothing_done_is_empty_tables(plan: Plan, empty: Store) -> None:
    tables = tables_of(GridResults(plan, empty))
    assert {name for name, table in tables.items() if table.rows} == set()
    assert {"results", "findings", "heatmap", "curves"} <= {*tables}
