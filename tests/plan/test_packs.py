"""Packs follow from the plan and the pack size alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plan.worlds import LANGUAGES, grid_of, plan_of
from xlharm.plan.packs import Pack, auto_sizes, halves, pack_shape, packs

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
    all_packs = packs(PLAN, size=size)
    assert sorted(k for p in all_packs for k in p.keys) == sorted(PLAN.stages)
    for pack in all_packs:
        assert 1 <= len(pack.keys) <= size
        assert len({pack_shape(PLAN.stages[k]) for k in pack.keys}) == 1
        inputs = {p for k in pack.keys for p in PLAN.stages[k].inputs}
        assert not inputs & set(pack.keys)


def test_objectives_of_one_shape_share_a_pack_and_lengths_do_not() -> None:
    unlearn = [p for p in packs(PLAN, size=100) if p.kind == "unlearn"]
    steps = [{PLAN.stages[k].spec["training"]["steps"] for k in p.keys} for p in unlearn]
    assert sorted(map(sorted, steps)) == [[40], [99]]
    objectives = {PLAN.stages[k].spec["training"]["objective"] for p in unlearn for k in p.keys if len(p.keys) > 5}
    assert objectives == {"npo", "ga"}


@given(size=st.integers(1, 12), workers=st.integers(1, 200))
def test_packs_cut_for_workers_partition_the_plan(size: int, workers: int) -> None:
    all_packs = packs(PLAN, size=size, workers=workers)
    assert sorted(k for p in all_packs for k in p.keys) == sorted(PLAN.stages)
    assert max(len(p.keys) for p in all_packs) <= size


# 9 contaminations and sft, 72 unlearnings, 81 × 9 evaluations
PAPER = plan_of(
    grid_of(
        contaminate=list(LANGUAGES),
        unlearn={"none": [], "en": ["en"], **{lang: ["en", lang] for lang in LANGUAGES[1:8]}},
    )
)


@pytest.mark.parametrize(
    ("workers", "sizes"),
    [
        (1, (5, 5, 8, 8)),  # 9 take two rounds of packs of 8, so 5 and 4 will do
        (8, (2, 2, 5, 8)),
        (64, (1, 1, 2, 6)),  # 729 take two rounds of 64 × 8: 365 a round are 6 for each worker
        (512, (1, 1, 1, 2)),
        (1000, (1, 1, 1, 1)),
    ],
)
def test_sizes_are_the_smallest_that_take_no_more_rounds(workers: int, sizes: tuple[int, ...]) -> None:
    kinds = ("contaminate", "sft", "unlearn", "evaluate")
    assert auto_sizes(PAPER, workers=workers, most=8) == dict(zip(kinds, sizes, strict=True))


def test_without_workers_packs_are_full() -> None:
    sizes = [len(p.keys) for p in packs(PAPER, size=8) if p.kind in {"contaminate", "unlearn"}]
    assert sizes == [8, 1, *[8] * 9]
    with pytest.raises(ValueError, match="worker"):
        packs(PAPER, size=8, workers=0)


def test_halves() -> None:
    pack = Pack(kind="unlearn", keys=("a", "b", "c"))
    assert [p.keys for p in halves(pack)] == [("a", "b"), ("c",)]
    with pytest.raises(ValueError, match="one"):
        halves(Pack(kind="unlearn", keys=("a",)))
    with pytest.raises(ValueError, match="at least one"):
        packs(PLAN, size=0)
