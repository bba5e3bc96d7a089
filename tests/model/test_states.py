"""Hidden states at the end of prompts, against a forward pass of each prompt alone."""

from pathlib import Path

import pytest
import torch

from tests.probes.worlds import inspecting_of
from xlharm.model.states import last_token_states
from xlharm.plan.families import Path as ModelPath


@pytest.mark.parametrize("path", ["fast", "generic"])
def test_they_are_those_of_each_prompt_alone(mini_base: Path, mini_corpus: Path, path: ModelPath) -> None:
    world = inspecting_of(mini_base, mini_corpus, path=path)
    prompts = [(5, 9, 31), (7,), (3, 60, 22, 22, 17)]
    found = last_token_states(world.stacked, world.adapters[0], prompts, batch=2)
    assert found.shape == (2, 3, 48)
    for i, prompt in enumerate(prompts):
        with torch.no_grad(), world.stacked.adapters(world.adapters[0][None]):
            states = world.stacked.model(input_ids=torch.tensor([prompt]), output_hidden_states=True).hidden_states
        torch.testing.assert_close(found[0, i], states[1][0, -1], rtol=0, atol=1e-4)
        final = world.stacked.model.model.norm(found[1, i])  # type: ignore[operator,union-attr] # transformers gives the last one normed
        torch.testing.assert_close(final, states[2][0, -1], rtol=0, atol=1e-4)
