"""What a plan takes, and in what a stage differs from a stored one."""

import pytest

from tests.plan.worlds import grid_of, plan_of
from xlharm.plan.cost import differences, estimate

PLAN = plan_of(grid_of(contaminate=["none", "de"], unlearn={"none": [], "en": ["en"]}, languages=["en", "de"]))
OF_KIND = {kind: [k for k, s in PLAN.stages.items() if s.kind == kind] for kind in ("contaminate", "evaluate")}


SECONDS = {key: 100.0 if stage.kind == "contaminate" else 1.0 for key, stage in PLAN.stages.items()}


def test_every_kind_is_counted_with_and_without_sharing() -> None:
    lines = {line.kind: line for line in estimate(PLAN, done=set(), seconds=SECONDS, adapter_bytes=None).lines}
    assert sum(line.shared for line in lines.values()) == len(PLAN.stages)
    assert (lines["contaminate"].shared, lines["contaminate"].naive) == (2, len(PLAN.cells))
    assert lines["contaminate"].seconds_left == 2 * 100.0


def test_what_is_stored_costs_nothing() -> None:
    done = {OF_KIND["contaminate"][0]}
    cost = estimate(PLAN, done=done, seconds=SECONDS, adapter_bytes=None)
    line = next(line for line in cost.lines if line.kind == "contaminate")
    assert (line.done, line.seconds_left, line.seconds_naive) == (1, 100.0, 100.0 * len(PLAN.cells))


def test_the_disk_holds_adapters_and_small_tables() -> None:
    done = set(PLAN.stages) - {OF_KIND["contaminate"][0], OF_KIND["evaluate"][0]}
    assert estimate(PLAN, done=done, seconds=SECONDS, adapter_bytes=5_000_000).disk == 5_000_000 + 20_000
    assert estimate(PLAN, done=done, seconds=SECONDS, adapter_bytes=None).disk is None


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"base": "other"}, "base: other -> base"),
        ({"inputs": ["x"]}, "inputs: ['x'] -> []"),
        ({"extra": 1}, "extra: 1 -> None"),
    ],
)
def test_a_difference_names_its_field(change: dict[str, object], difference: str) -> None:
    stage = PLAN.stages[OF_KIND["contaminate"][0]]
    assert differences(stage, stage.identity()) == []
    assert differences(stage, {**stage.identity(), **change}) == [difference]


def test_a_nested_difference_is_a_path() -> None:
    stage = PLAN.stages[OF_KIND["contaminate"][0]]
    training = {**stage.spec["training"], "steps": 7}
    stored = {**stage.identity(), "spec": {**stage.spec, "training": training}}
    assert differences(stage, stored) == [f"spec.training.steps: 7 -> {stage.spec['training']['steps']}"]
