"""Sampled answers: seeded by question and sample, and the same alone, in a pack and in smaller batches."""

from dataclasses import replace
from pathlib import Path

import torch

from tests.probes.worlds import asking_of
from xlharm.evaluate.asking import Asking
from xlharm.probes.sample import Sample

EXAMPLE = {"sampled": {"kind": "sample", "samples": 2, "queries": ["de"]}}
PROBE = Sample(kind="sample", samples=3)


def only(asking: Asking, slot: int) -> Asking:
    return replace(asking, adapters=asking.adapters[slot : slot + 1], active=(True,))


def test_each_question_is_asked_so_often_in_a_row(mini_base: Path) -> None:
    asked, answers = PROBE.answers(asking_of(mini_base, adapters=1))
    assert [(item.id, measure) for item, measure, *_ in asked.questions] == [("x", "of")] * 3 + [("y", "qr")] * 3
    assert len(answers[0]) == len(asked.prompts) == 6
    assert len({answer.ids for answer in answers[0]}) > 2  # the samples of a question differ


def test_samples_are_the_same_alone_in_a_pack_and_in_small_batches(mini_base: Path) -> None:
    pack = asking_of(mini_base, adapters=3)
    _, together = PROBE.answers(pack)
    for slot in range(3):
        _, alone = PROBE.answers(only(pack, slot))
        assert alone[0] == together[slot]
    _, one_by_one = PROBE.answers(replace(pack, rows=3))
    assert one_by_one == together


def test_two_models_answer_with_the_same_luck(mini_base: Path) -> None:
    pack = asking_of(mini_base, adapters=2)
    same = replace(pack, adapters=pack.adapters[:1].repeat(2, 1))
    _, answers = PROBE.answers(same)
    assert answers[0] == answers[1]


def test_another_seed_or_language_draws_other_numbers(mini_base: Path) -> None:
    asking = asking_of(mini_base, adapters=1)
    usual = PROBE.answers(asking)[1]
    assert PROBE.answers(asking)[1] == usual
    assert Sample(kind="sample", samples=3, seed=1).answers(asking)[1] != usual
    assert PROBE.answers(replace(asking, language="de"))[1] != usual


def test_more_samples_begin_with_the_fewer(mini_base: Path) -> None:
    asking = asking_of(mini_base, adapters=1)
    few, many = PROBE.answers(asking)[1][0], Sample(kind="sample", samples=5).answers(asking)[1][0]
    assert many[:3] == few[:3]
    assert many[5:8] == few[3:]


def test_a_temperature_near_0_gives_the_likeliest_answer(mini_base: Path) -> None:
    asking = asking_of(mini_base, adapters=2)
    greedy = asking.generate(asking.adapters)
    _, cold = Sample(kind="sample", samples=2, temperature=1e-6).answers(asking)
    assert [answers[::2] for answers in cold] == greedy
    _, narrow = Sample(kind="sample", samples=2, top_p=1e-9).answers(asking)
    assert [answers[::2] for answers in narrow] == greedy


def test_both_paths_sample_the_same(mini_base: Path) -> None:
    """transformers' own decoding with its cache, and without one."""
    asking = asking_of(mini_base, adapters=2)
    _, fast = PROBE.answers(asking)
    for caches in (True, False):
        asking.stacked.path, asking.stacked.caches = "generic", caches
        assert PROBE.answers(asking)[1] == fast
    assert torch.equal(asking.adapters, asking_of(mini_base, adapters=2).adapters)
