"""Patched models: with every layer replaced a model is the other one, with none it is itself."""

from pathlib import Path

import pytest
import torch

from tests.probes.worlds import inspecting_of
from xlharm.corpus.rows import Row
from xlharm.evaluate.likelihood import likelihoods
from xlharm.model.base import layers
from xlharm.model.patching import Positions, patched_likelihoods
from xlharm.plan.families import Path as ModelPath

ROWS = [Row((5, 9, 31, 44, 8, 13), 4), Row((7, 8), 1), Row((3, 60, 22, 22, 17, 5, 41, 11, 12, 9, 9), 7)]
PATCHES = [(), (0,), (1,), (0, 1)]


@pytest.mark.parametrize("path", ["fast", "generic"])
@pytest.mark.parametrize("positions", ["answer", "all"])
def test_patches_together_give_what_each_gives_alone_and_the_ends_are_the_two_models(
    mini_base: Path, mini_corpus: Path, positions: Positions, path: ModelPath
) -> None:
    world = inspecting_of(mini_base, mini_corpus, models=2, path=path)
    after, before = world.adapters

    def patched(patches: list[tuple[int, ...]], *, batch: int, slots: int) -> list[list[float]]:
        return patched_likelihoods(
            world.stacked, ROWS, into=after, source=before, patches=patches, positions=positions, batch=batch,
            slots=slots,
        )  # fmt: skip

    together = patched(PATCHES, batch=64, slots=4)
    for batch, slots in ((1, 4), (4, 2), (64, 1)):
        for found, expected in zip(patched(PATCHES, batch=batch, slots=slots), together, strict=True):
            assert found == pytest.approx(expected, abs=1e-4)
    alone = [patched([patch], batch=64, slots=1)[0] for patch in PATCHES]
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    of_after, of_before = (
        [sum(found.logp) for found in of_model]
        for of_model in likelihoods(world.stacked, torch.stack([after, before]), ROWS, batch=64)
    )
    assert together[0] == pytest.approx(of_after, abs=1e-4)
    assert together[2] == pytest.approx(of_before, abs=1e-4)  # the last layer decides
    assert together[3] == pytest.approx(of_before, abs=1e-4)
    assert together[1] != pytest.approx(of_after, abs=1e-2)
    assert together[1] != pytest.approx(of_before, abs=1e-2)


def test_only_the_states_that_predict_the_answer_are_replaced(mini_base: Path, mini_corpus: Path) -> None:
    """By hand: a forward pass of one row whose first layer's output is overwritten at three positions."""
    world = inspecting_of(mini_base, mini_corpus, models=2)
    row, (after, before), model = ROWS[2], world.adapters, world.stacked.model
    kept: dict[str, torch.Tensor] = {}

    def logits(adapter: torch.Tensor, hook: object) -> torch.Tensor:
        handle = layers(model)[0].register_forward_hook(hook)  # type: ignore[arg-type] # a function
        with torch.no_grad(), world.stacked.adapters(adapter[None]):
            found: torch.Tensor = model(input_ids=torch.tensor([row.ids])).logits[0]
        handle.remove()
        return found

    def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
        kept["states"] = output

    def put(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        changed = output.clone()
        changed[:, 6:10] = kept["states"][:, 6:10]  # predict tokens 7 to 10
        return changed

    logits(before, keep)
    logp = logits(after, put).log_softmax(-1)[6:10]
    expected = float(sum(logp[i, token] for i, token in enumerate(row.ids[7:])))
    (found,) = patched_likelihoods(
        world.stacked, [row], into=after, source=before, patches=[(0,)], positions="answer", batch=4, slots=4
    )
    assert found == pytest.approx([expected], abs=1e-4)
