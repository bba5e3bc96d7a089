"""Packs follow from the plan and the pack size alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plan.worlds import grid_of, plan_of
from xlharm.plan.packs import Pack, halves, packs

PLAN = plan_of(
    grid_of(
        contaminate=["none", "de", "ur"],
        unlearn={"none": [], "en": ["en"], "source": ["source"]},
        methods={
            "npo": {"objective": "npo"},
            "long": {"objective": "ga", "steps": 99},
            "ga": {"objective": "ga"},
        },
    )
)


@given(size=st.integers(1, 40))
def test_packs_partition_the_plan_by_shape(size: int) -> None:
    found = packs(PLAN, size=size)
    assert sorted(k for p in found for k in p.keys) == sorted(PLAN.stages)
    for pack in found:
        assert 1 <= len(pack.keys) <= size
        assert len({PLAN.stages[k].shape for k in pack.keys}) == 1
        inputs = {p for k in pack.keys for p in PLAN.stages[k].inputs}
        assert not inputs & set(pack.keys)


def test_objectives_of_one_shape_share_a_pack_and_lengths_do_not() -> None:
    unlearn = [p for p in packs(PLAN, size=100) if p.kind == "unlearn"]
    steps = [{PLAN.stages[k].spec["training"]["steps"] for k in p.keys} for p in unlearn]
    assert sorted(map(sorted, steps)) == [[40], [99]]
    objectives = {PLAN.stages[k].spec["training"]["objective"] for p in unlearn for k in p.keys if len(p.keys) > 5}
    assert objectives == {"npo", "ga"}


def test_halves() -> None:
    pack = Pack(kind="unlearn", keys=("a", "b", "c"))
    assert [p.keys for p in halves(pack)] == [("a", "b"), ("c",)]
    with pytest.raises(ValueError, match="one"):
        halves(Pack(kind="unlearn", keys=("a",)))
    with pytest.raises(ValueError, match="at least one"):
        packs(PLAN, size=0)
