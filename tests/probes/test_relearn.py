"""Which stages a relearning probe plans."""

from typing import Any

from tests.plan.worlds import grid_of, plan_of

EXAMPLE = {
    "again": {
        "kind": "relearn", "items": 2, "languages": ["en"], "steps": 2, "batch_size": 2,
        "learning_rate": 5e-3, "queries": ["de"],
    }
}  # fmt: skip

PROBE = {"kind": "relearn", "items": 3, "forget": "qa", "queries": ["ur"]}


def stages_of(probe: dict[str, Any], *, contaminate: list[str]) -> list[list[Any]]:
    """Return the relearned model and its evaluation, for each cell that has them."""
    plan = plan_of(grid_of(languages=["en", "ur"], contaminate=contaminate, probes={"again": probe}))
    evaluations = [plan.stages[c.probes["again"]["ur"]] for c in plan.cells if c.probes]
    return [[plan.stages[e.inputs[0]], e] for e in evaluations]


def test_a_model_is_trained_again_and_asked_as_usual() -> None:
    ((model, evaluation),) = stages_of({**PROBE, "languages": ["en", "source"]}, contaminate=["ur"])
    assert model.kind == "relearn"
    assert (model.spec["languages"], model.spec["items"], set(model.data)) == (["en", "ur"], 3, {"en", "ur"})
    assert model.spec["training"]["forget"] == "qa"
    assert not {"kind", "queries", "languages", "items"} & set(model.spec["training"])
    assert "probe" not in evaluation.spec


def test_a_clean_control_learns_a_language_of_the_grid() -> None:
    pairs = stages_of(PROBE, contaminate=["none", "ur"])
    assert [model.spec["languages"] for model, _ in pairs] == [["ur"], ["ur"]]
    assert pairs[0][0].key != pairs[1][0].key


def test_without_a_contaminated_language_there_is_nothing_to_learn() -> None:
    assert not stages_of(PROBE, contaminate=["none"])


def test_several_numbers_of_items_are_a_curve_of_models() -> None:
    probes = {"again": {**PROBE, "items": [1, 5]}, "one": {**PROBE, "items": 5}}
    (cell,) = plan_of(grid_of(languages=["en", "ur"], contaminate=["ur"], probes=probes)).cells
    plan = plan_of(grid_of(languages=["en", "ur"], contaminate=["ur"], probes=probes))
    assert set(cell.probes) == {"again:1", "again:5", "one"}
    items = {n: plan.stages[plan.stages[p["ur"]].inputs[0]].spec["items"] for n, p in cell.probes.items()}
    assert items == {"again:1": 1, "again:5": 5, "one": 5}
    assert cell.probes["again:5"] == cell.probes["one"]
