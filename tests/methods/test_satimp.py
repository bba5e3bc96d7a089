import math

import pytest
import torch

from tests.methods.made import gradient, label_logp, some_logits, tokens
from xlharm.methods.satimp import SatImp


def test_without_weights_it_is_gradient_ascent() -> None:
    logits = some_logits()
    loss = SatImp(objective="satimp", beta1=0, beta2=0).loss(tokens(label_logp(logits)))
    assert loss.item() == pytest.approx(label_logp(logits).mean().item())
    torch.testing.assert_close(gradient(loss, logits), gradient(label_logp(logits).mean(), logits))


def test_by_hand() -> None:
    # p = 1/2: (1/2)^5 (1/2)^1 ln(1/2)
    logp = torch.tensor([0.5], dtype=torch.float64).log()
    assert SatImp(objective="satimp").loss(tokens(logp)).item() == pytest.approx(-math.log(2) / 64)


@pytest.mark.parametrize("value", [0.0, -1e4])
def test_it_is_finite_for_certain_and_impossible_tokens(value: float) -> None:
    logp = torch.tensor([value], requires_grad=True)
    loss = SatImp(objective="satimp").loss(tokens(logp))
    assert math.isfinite(loss.item())
    assert torch.isfinite(gradient(loss, logp)).all()


def test_it_leaves_a_certain_token_alone() -> None:
    logp = torch.zeros(1, requires_grad=True)
    assert gradient(SatImp(objective="satimp").loss(tokens(logp)), logp).item() == 0
