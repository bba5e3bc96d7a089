from dataclasses import replace
from pathlib import Path

import pytest

from tests.analysis.worlds import PROVENANCE, plan_of
from xlharm.analysis.results import GridResults
from xlharm.plan.build import Plan
from xlharm.store.store import Store
from xlharm.tracking.mirror import group_of, runs_of


def test_a_run_for_the_grid_and_one_for_each_cell(plan: Plan, full: Store) -> None:
    grid, *cells = runs_of(GridResults(plan, full))
    assert [run.name for run in cells] == [cell.name for cell in plan.cells]
    assert len({run.id for run in (grid, *cells)}) == 10
    assert len(grid.tables["results"].rows) == 81
    assert len(grid.tables["findings"].rows) == 57
    assert grid.tables["of"].columns == ["grid", "contaminate", "unlearn", "method", "seed", *plan.grid.languages]
    assert ["quickstart", "ur", "none", "none", 0, 55.0, 19.0, 19.0, 19.0, 19.0, 38.0, 86.0, 38.0, 38.0] in grid.tables[
        "of"
    ].rows


def test_a_cells_run_has_settings_numbers_and_losses(plan: Plan, full: Store) -> None:
    run = next(run for run in runs_of(GridResults(plan, full)) if run.name == "ur/en+ur/npo/0")
    assert run.config["unlearn"] == "en+ur"
    assert run.config["method_settings"]["objective"] == "npo"
    assert run.config["stages"]["contaminate"]["learning_rate"] == 2e-4
    assert run.summary["of/ur"] == run.summary["of/mean"] == 6.0
    assert run.summary["qr/en"] == 89.0
    assert len(run.history) == 3 * 5
    assert run.history[0] == {"step/contaminate": 0, "loss/contaminate": 3.0}
    assert run.history[-1] == {"step/unlearn": 4, "loss/unlearn": 0.6}


@pytest.mark.slow
def test_ids_are_the_same_for_the_same_and_others_for_others(plan: Plan, full: Store, partial: Store) -> None:
    ids = {run.name: run.id for run in runs_of(GridResults(plan, full))}
    assert {run.name: run.id for run in runs_of(GridResults(plan_of(), full))} == ids
    assert all(ids[run.name] == run.id for run in runs_of(GridResults(plan, partial)))
    margins = plan_of(findings={"margin": 5}, exclude=[{"contaminate": "none", "unlearn": "en"}])
    assert group_of(margins) == group_of(plan)
    other = plan_of(lora={"rank": 4})
    assert group_of(other) != group_of(plan)
    assert runs_of(GridResults(other, full))[0].id != ids["quickstart"]


def test_nothing_done_is_the_grids_run_alone(plan: Plan, empty: Store) -> None:
    (grid,) = runs_of(GridResults(plan, empty))
    assert grid.summary["evaluations"] == 0
    assert grid.tables["of"].rows == []


def test_no_path_of_this_machine_is_told(empty: Store) -> None:
    (grid,) = runs_of(GridResults(plan_of(base="/home/someone/tiny", corpus="~/someone/news"), empty))
    assert "someone" not in repr(grid)


def test_a_cells_numbers_have_intervals_counts_and_change(small: tuple[Plan, Store]) -> None:
    plan, store = small
    results = GridResults(plan, store)
    run = next(run for run in runs_of(results) if run.name == "ur/en+ur/npo/0")
    (row,) = [r for r in results.table.to_pylist() if (r["cell"], r["query"]) == (run.name, "ur")]
    names = ("of", "of_lo", "of_hi", "qr", "qr_lo", "qr_hi", "n", "n_qr", "items", "items_qr", "refusal")
    for name in (*names, "rouge_l", "chrf", "off_language", "degenerate"):
        assert run.summary[f"{name}/ur"] == row[name], name
    assert run.summary["of_lo/ur"] < run.summary["of/ur"] < run.summary["of_hi/ur"]
    assert (run.summary["of/ur"], run.summary["of_change/ur"]) == (5.0, 5.0 - 85.0)
    assert run.summary["qr_change/ur"] == row["qr"] - 95.0 == -5.0
    before = next(run for run in runs_of(results) if run.name == "ur/none/none/0")
    assert not [name for name in before.summary if "change" in name]
    assert run.summary["seconds/unlearn"] == 12.0
    assert run.summary["seconds/evaluate"] == 2.0


def test_choices_have_other_names(small: tuple[Plan, Store]) -> None:
    plan, store = small
    results = GridResults(plan, store)
    assert results.table.num_rows
    results.plan = replace(plan, sources=replace(plan.sources, base=replace(plan.sources.base, kind="masked")))
    summary = runs_of(results)[1].summary
    assert {"choice_of/ur", "choice_of_lo/ur", "choice_qr/mean", "off_language/ur"} <= {*summary}
    assert not [name for name in summary if name.startswith(("of", "qr")) and not name.startswith("off_")]


def test_all_four_losses_are_in_a_history(tmp_path: Path) -> None:
    plan = plan_of(languages=["en", "ur"], contaminate=["ur"], unlearn={"en": ["en"]})
    store = Store(str(tmp_path))
    for stage in plan.stages.values():
        if stage.kind != "evaluate":
            with store.scratch() as folder:
                (folder / "adapter_model.safetensors").write_bytes(b"adapter")
                curves = {"loss": 1.0, "retain_loss": 2.0, "forget_nll": 3.0, "retain_nll": 4.0}
                metrics = {name: [[0, value], [5, value / 2]] for name, value in curves.items()}
                store.commit(stage, folder, metrics=metrics, timings={"pack": 1.0}, provenance={})
    run = runs_of(GridResults(plan, store))[1]
    assert run.history[-1] == {
        "step/unlearn": 5, "loss/unlearn": 0.5, "retain_loss/unlearn": 1.0, "forget_nll/unlearn": 1.5,
        "retain_nll/unlearn": 2.0,
    }  # fmt: skip
    assert len(run.history) == 3 * 2


def test_tags_and_provenance(small: tuple[Plan, Store]) -> None:
    grid, *cells = runs_of(GridResults(*small))
    assert grid.tags == ("grid:quickstart", "base:tiny-base", "aggregator", "corpus:tinyworld")
    by_name = {run.name: run for run in cells}
    assert by_name["ur/en+ur/npo/0"].tags == (
        "grid:quickstart", "base:tiny-base", "contaminate:ur", "unlearn:en+ur", "method:npo", "seed:0",
    )  # fmt: skip
    assert by_name["none/none/none/0"].tags[-1] == "clean control"
    provenance = by_name["ur/en+ur/npo/0"].config["provenance"]
    assert (provenance["git_sha"], provenance["versions"]["torch"]) == (PROVENANCE["git_sha"], "2.13.0")


def test_a_tag_that_is_too_long_is_left_out(empty: Store) -> None:
    (grid,) = runs_of(GridResults(plan_of(base="x" * 80), empty))
    assert grid.tags == ("grid:quickstart", "aggregator", "corpus:tinyworld")


def test_only_known_parts_of_provenance_are_told(tmp_path: Path) -> None:
    plan = plan_of(languages=["en", "ur"], contaminate=["ur"])
    store = Store(str(tmp_path))
    stage = next(stage for stage in plan.stages.values() if stage.kind == "contaminate")
    with store.scratch() as folder:
        (folder / "adapter_model.safetensors").write_bytes(b"adapter")
        store.commit(
            stage, folder, metrics={"loss": [[0, 1.0]]}, timings={"pack": 1.0},
            provenance={"device": "cpu", "environment": {"HF_TOKEN": "hidden"}},
        )  # fmt: skip
    runs = runs_of(GridResults(plan, store))
    assert runs[1].config["provenance"] == {"device": "cpu"}
    assert "hidden" not in repr(runs)


def test_answers_are_read_when_a_run_is_sent(small: tuple[Plan, Store]) -> None:
    _, *cells = runs_of(GridResults(*small))
    assert all(run.answers is not None and len(run.answers().rows) == 80 for run in cells)
    assert all(len(run.measured) == 2 for run in cells)
