"""The models of a pack answer one after another, each with its own rounded weights."""

from pathlib import Path

import torch

from tests.probes.worlds import asking_of
from xlharm.model.quantise import merged_and_quantised
from xlharm.probes.quantise import Quantise

EXAMPLE = {"int4": {"kind": "quantise", "bits": 4, "group": 16, "queries": ["de"]}}


def test_each_model_answers_with_its_own_rounded_weights(mini_base: Path) -> None:
    asking = asking_of(mini_base, adapters=3, active=(True, False, True))
    asked, answers = Quantise(kind="quantise", bits=4, group=16).answers(asking)
    assert asked is asking
    assert answers[1] == []
    for slot in (0, 2):
        with merged_and_quantised(asking.stacked, asking.adapters[slot], bits=4, group=16):
            assert asking.generate(torch.zeros_like(asking.adapters[:1])) == [answers[slot]]
    assert answers[0] != answers[2]
