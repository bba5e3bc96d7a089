"""What is measured of a plan, and what the clock expects for it: with fixed clocks."""

from collections.abc import Sequence

import pytest

from tests.plan.worlds import grid_of, plan_of
from xlharm.engine.calibration import expected_of_answers, expected_of_step, jobs_of
from xlharm.plan.build import Plan
from xlharm.plan.memory import BaseSizes
from xlharm.plan.stage import Stage
from xlharm.plan.timing import Clock, Speed, TextSizes
from xlharm.stages.calibration import Answers
from xlharm.stages.job import PackJob

SIZES = BaseSizes(parameters=1100, widths={}, body=1000, head=100, layers=2)
TEXTS = {"en": TextSizes(article=50.0, pair=20.0, question=10.0, questions=30, scored=700)}
FEW = {"steps": 4, "batch_size": 8}


def plan_with(**fields: object) -> Plan:
    methods = {"m": {"objective": "ga", "forget": "qa", "retain": "nll", "retain_batch_size": 4, **FEW}}
    stages = {"contaminate": FEW, "sft": {**FEW, "steps": 2}}
    return plan_of(
        grid_of(
            contaminate=["en"], languages=["en"], unlearn={"en": ["en"]}, methods=methods, seeds=3, stages=stages,
            **fields,
        )
    )  # fmt: skip


def clock(flops: float) -> Clock:
    return Clock(sizes=SIZES, texts=TEXTS, speed=Speed(flops=flops, bandwidth=1e9, layer_seconds=0.0))


def batches(stages: Sequence[Stage]) -> list[tuple[int, int | None]]:
    return [(s.spec["training"]["batch_size"], s.spec["training"].get("retain_batch_size")) for s in stages]


def test_a_pack_of_each_kind_is_measured_whole_where_a_step_is_quick() -> None:
    jobs = dict(jobs_of(plan_with(), clock(flops=1e12)))
    assert {kind: len(job.stages) for kind, job in jobs.items()} == dict.fromkeys(
        ("contaminate", "sft", "unlearn", "evaluate"), 3
    )
    assert batches(jobs["unlearn"].stages) == [(8, 4)] * 3


def test_a_slow_step_is_measured_with_fewer_stages_and_then_fewer_rows() -> None:
    articles = 8 * 50 * 2 * 2 * 1100  # operations of a step: rows, tokens, forward and backward, for each parameter
    two = dict(jobs_of(plan_with(), clock(flops=articles * 4.2)))["contaminate"]  # 0.24 s a stage
    assert batches(two.stages) == [(8, None)] * 2
    quarter = dict(jobs_of(plan_with(), clock(flops=articles / 1.9)))["contaminate"]  # 1.9 s a stage
    assert batches(quarter.stages) == [(2, None)]
    least = dict(jobs_of(plan_with(), clock(flops=1.0)))["unlearn"]
    assert batches(least.stages) == [(1, 1)]


def test_the_expected_seconds_of_a_step_and_of_answers() -> None:
    slow = clock(flops=1e6)
    job = dict(jobs_of(plan_with(), clock(flops=1e12)))["contaminate"]
    one_pass = 1100 * 4 / 1e9
    assert expected_of_step(job, slow) == pytest.approx(3 * 8 * 50 * 2 * 2 * 1100 / 1e6 + 2 * one_pass)
    answers = Answers(seconds=1.0, read=300, new=100, passes=11)
    expected = (2 * 1000 * 400 + 2 * 100 * 100) / 1e6 + 11 * one_pass
    assert expected_of_answers(answers, job, slow) == pytest.approx(expected)


def test_probes_and_scores_are_not_measured() -> None:
    probes = {"int8": {"kind": "quantise", "bits": 8, "queries": ["en"]}}
    plan = plan_with(probes=probes, evaluate={"scores": True})
    jobs: dict[str, PackJob] = dict(jobs_of(plan, clock(flops=1e12)))
    assert set(jobs) == {"contaminate", "sft", "unlearn", "evaluate"}
    assert all("probe" not in stage.spec for stage in jobs["evaluate"].stages)
