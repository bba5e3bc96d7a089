"""What enters a stage's key, and what its shape."""

from dataclasses import replace

import pytest

from tests.plan.worlds import grid_of, plan_of
from xlharm.plan.packs import pack_shape
from xlharm.plan.stage import KINDS, MODELS, STAGE_VERSIONS, Stage

STAGE = next(s for s in plan_of(grid_of(unlearn={"en": ["en"]})).stages.values() if s.kind == "unlearn")


def changed(**training: object) -> Stage:
    return replace(STAGE, spec={**STAGE.spec, "training": {**STAGE.spec["training"], **training}})


def test_a_label_is_no_part_of_a_key() -> None:
    assert replace(STAGE, label="another").key == STAGE.key


@pytest.mark.parametrize("change", [{"base": "x"}, {"inputs": ("x",)}, {"data": {"en": "x"}}, {"kind": "sft"}], ids=str)
def test_all_else_is(change: dict[str, object]) -> None:
    assert replace(STAGE, **change).key != STAGE.key


def test_a_version_of_a_kind_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before = STAGE.key
    monkeypatch.setitem(STAGE_VERSIONS, "unlearn", STAGE_VERSIONS["unlearn"] + 1)
    assert replace(STAGE).key != before


def test_rates_share_a_shape_and_sizes_do_not() -> None:
    assert pack_shape(changed(learning_rate=0.01)) == pack_shape(changed(beta=0.3)) == pack_shape(STAGE)
    for size in ({"steps": 1}, {"batch_size": 1}):
        assert pack_shape(changed(**size)) != pack_shape(STAGE), size


def test_retain_rows_are_part_of_a_shape_only_where_there_is_a_retain_term() -> None:
    kept = pack_shape(changed(retain="nll"))
    assert pack_shape(changed(retain="kl")) == kept
    assert pack_shape(changed(retain="nll", retain_batch_size=99)) != kept
    assert pack_shape(changed(retain="none", retain_batch_size=99)) == pack_shape(changed(retain="none"))


def test_parents_come_before_children() -> None:
    assert KINDS[: len(MODELS)] == MODELS
    assert set(STAGE_VERSIONS) == set(KINDS)
