"""Steering adds what unlearning took away, at one layer."""

from pathlib import Path

import pytest
import torch

from tests.model.test_compiled import COMPILED_FOR, PACKS, answered, compiled, stacked_base  # noqa: F401 - a fixture
from tests.plan.worlds import grid_of, plan_of
from tests.probes.worlds import asking_of
from xlharm.errors import UserError
from xlharm.model.lora import StackedModel
from xlharm.probes.steer import Steer, mean_activation, steered

EXAMPLE = {"steered": {"kind": "steer", "layer": 0, "queries": ["de"]}}


def test_only_cells_that_unlearn_are_steered_and_from_the_model_before() -> None:
    probes = {"steer": {"kind": "steer", "queries": ["en"]}}
    plan = plan_of(grid_of(languages=["en", "ur"], unlearn={"none": [], "en": ["en"]}, probes=probes))
    plain, unlearned = plan.cells
    assert not plain.probes
    stage = plan.stages[unlearned.probes["steer"]["en"]]
    assert stage.inputs == (unlearned.model, plain.model)
    assert stage.spec["probe"] == {"kind": "steer", "layer": None, "strength": 1.0}


def test_a_direction_moves_its_own_models_mean_and_no_other(mini_base: Path) -> None:
    asking = asking_of(mini_base, adapters=2)
    direction = torch.zeros(2, 48)
    direction[1, 5] = 3.0

    def means() -> torch.Tensor:
        return mean_activation(asking.stacked, asking.adapters, asking.prompts, layer=1, rows=64)

    before = means()
    with steered(asking.stacked.model, direction, layer=0):
        at_once = mean_activation(asking.stacked, asking.adapters, asking.prompts, layer=0, rows=64)
    plain = mean_activation(asking.stacked, asking.adapters, asking.prompts, layer=0, rows=64)
    torch.testing.assert_close(at_once - plain, direction.double(), rtol=0, atol=1e-5)
    assert torch.equal(means(), before)


def test_a_model_that_unlearned_nothing_answers_as_usual_and_another_does_not(mini_base: Path) -> None:
    same = asking_of(mini_base, adapters=2)
    usual = same.generate(same.adapters)
    assert Steer(kind="steer", layer=0).answers(same) == (same, usual)
    changed = asking_of(mini_base, adapters=2, before=lambda adapters: 2 * adapters)
    asked, answers = Steer(kind="steer", layer=0, strength=50).answers(changed)
    assert asked is changed
    assert answers != usual


def test_a_layer_that_the_base_lacks_is_one_line(mini_base: Path) -> None:
    with pytest.raises(UserError, match=r"steer: the base has no decoder layer 2 \(it has 0 to 1\)"):
        Steer(kind="steer", layer=2).answers(asking_of(mini_base, adapters=1))


def test_steered_layers_run_as_they_are(compiled: StackedModel) -> None:  # noqa: F811 - the fixture
    plain, directions = stacked_base(compiled=False), torch.randn(3, 32)
    answered(compiled, PACKS[0])
    made = len(COMPILED_FOR)
    with compiled.uncompiled(), steered(compiled.model, directions, layer=1):
        answers = answered(compiled, PACKS[0])
    with steered(plain.model, directions, layer=1):
        assert answers.tolist() == answered(plain, PACKS[0]).tolist()
    assert len(COMPILED_FOR) == made
    assert compiled.compiled
