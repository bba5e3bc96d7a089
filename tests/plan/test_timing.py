"""How long stages take: sums worked out by hand."""

from dataclasses import replace
from typing import Any

import pytest

from tests.plan.worlds import grid_of, plan_of
from xlharm.plan.memory import BaseSizes
from xlharm.plan.stage import Kind, Stage
from xlharm.plan.timing import Clock, Speed, TextSizes, answering, start_seconds, work_of

SIZES = BaseSizes(parameters=1100, widths={}, body=1000, head=100, layers=2)
TEXT = TextSizes(article=50.0, pair=20.0, question=10.0, questions=30, scored=700)
TEXTS = {"en": TEXT, "de": replace(TEXT, article=70.0, pair=30.0)}
SPEED = Speed(flops=1e6, bandwidth=1e5, layer_seconds=0.01)
FEW = {"steps": 4, "batch_size": 8}


def stage_of(kind: Kind, **fields: Any) -> Stage:
    grid = grid_of(contaminate=["de"], languages=["en"], unlearn={"en": ["en"]}, **fields)
    return next(s for s in plan_of(grid).stages.values() if s.kind == kind)


def method(**fields: Any) -> dict[str, Any]:
    return {"m": {"retain_batch_size": 8, "forget": "qa", **FEW, **fields}}


def test_articles_forward_and_backward() -> None:
    stage = stage_of("contaminate", stages={"contaminate": FEW})
    work = work_of(stage, SIZES, TEXTS)
    assert work.flops == 4 * 8 * 60 * 2 * 2 * 1100  # steps, rows, mean of en and de, forward and backward, operations
    assert work.passes == 4 * 2


@pytest.mark.parametrize(
    ("fields", "tokens", "passes"),
    [
        ({"objective": "ga"}, 2 * 8 * 20, 2),
        ({"objective": "ga", "forget": "articles"}, 2 * 8 * 50, 2),
        ({"objective": "graddiff", "retain_text": "qa"}, 2 * (8 * 20 + 8 * 20), 2),
        ({"objective": "npo"}, 3 * 8 * 20, 3),  # the reference model reads the forget rows, too
        ({"objective": "ga", "retain": "kl", "retain_text": "both"}, 3 * (8 * 20 + 8 * 35), 3),
        ({"objective": "dpo"}, 3 * 2 * 8 * 20, 3),
    ],
)
def test_unlearning_reads_what_its_method_needs(fields: dict[str, Any], tokens: int, passes: int) -> None:
    work = work_of(stage_of("unlearn", methods=method(**fields)), SIZES, TEXTS)
    assert work.flops == 4 * 2 * 1100 * tokens
    assert work.passes == 4 * passes


def test_answers_are_prompts_and_new_tokens() -> None:
    work = work_of(stage_of("evaluate", evaluate={"max_new_tokens": 10}), SIZES, TEXTS)
    new = 30 * 10 * 0.6
    assert work.flops == pytest.approx(2 * 1000 * (30 * 10 + new) + 2 * 100 * new)
    assert work.passes == 11


def test_passes_are_shared_by_a_pack_and_operations_are_not() -> None:
    stage = stage_of("contaminate", stages={"contaminate": FEW})
    clock = Clock(sizes=SIZES, texts=TEXTS, speed=SPEED)
    work = work_of(stage, SIZES, TEXTS)
    one_pass = 1100 * 4 / 1e5 + 2 * 0.01
    assert clock.seconds(stage, slots=1) == pytest.approx(work.flops / 1e6 + work.passes * one_pass)
    assert clock.seconds(stage, slots=4) == pytest.approx(work.flops / 1e6 + work.passes * one_pass / 4)


def test_measured_factors_correct_and_stand_in_for_kinds_without_one() -> None:
    stage = stage_of("contaminate", stages={"contaminate": FEW})
    plain = Clock(sizes=SIZES, texts=TEXTS, speed=SPEED)
    measured = replace(plain, factors={"contaminate": 3.0, "sft": 5.0, "unlearn": 7.0})
    assert measured.seconds(stage, slots=2) == pytest.approx(3 * plain.seconds(stage, slots=2))
    asked = stage_of("evaluate")
    assert measured.seconds(asked, slots=2) == pytest.approx(5 * plain.seconds(asked, slots=2))


def test_a_corpus_that_cannot_be_read_gives_a_guess() -> None:
    assert Clock(sizes=SIZES, texts={}, speed=SPEED).seconds(stage_of("sft"), slots=1) > 0


def test_measured_answers_are_the_work_of_their_tokens() -> None:
    work = answering(SIZES, read=300.0, new=100.0, passes=11.0)
    assert work.flops == 2 * 1000 * 400 + 2 * 100 * 100
    clock = Clock(sizes=SIZES, texts=TEXTS, speed=SPEED)
    assert clock.of(work, dtype="float32", slots=1) == pytest.approx(work.flops / 1e6 + 11 * (1100 * 4 / 1e5 + 0.02))


def test_a_start_is_imports_reading_checking_and_compiling() -> None:
    large = replace(SIZES, parameters=400_000_000)
    speed = Speed(flops=1e9, bandwidth=1.0, layer_seconds=1.0)
    checking = 6 * 2 * 1100 * 64 / 1e9
    assert start_seconds(SIZES, speed, device="cpu", dtype="float32") == pytest.approx(12 + 4400 / 5e8 + checking)
    assert start_seconds(large, speed, device="cpu", dtype="bfloat16") == pytest.approx(12 + 1.6 + checking)
    assert start_seconds(large, speed, device="cuda", dtype="bfloat16") == pytest.approx(20 + 1.6 + checking + 12)
