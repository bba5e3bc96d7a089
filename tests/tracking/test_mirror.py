from tests.analysis.worlds import plan_of
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
