import math

import pytest
import torch

from tests.methods.made import gradient, label_logp, some_logits, tokens
from xlharm.methods.wga import Wga


def test_without_weights_it_is_gradient_ascent() -> None:
    logits = some_logits()
    loss = Wga(objective="wga", beta=0).loss(tokens(label_logp(logits)))
    assert loss.item() == pytest.approx(label_logp(logits).mean().item())
    torch.testing.assert_close(gradient(loss, logits), gradient(label_logp(logits).mean(), logits))


def test_by_hand() -> None:
    # p = 1/2 and 1/4: mean(1/2 ln 1/2, 1/4 ln 1/4) = -(ln 2)/2; gradient on log p is p / n, p being detached
    logp = torch.tensor([0.5, 0.25], dtype=torch.float64).log().requires_grad_()
    loss = Wga(objective="wga", beta=1).loss(tokens(logp))
    assert loss.item() == pytest.approx(-math.log(2) / 2)
    assert gradient(loss, logp).tolist() == pytest.approx([0.25, 0.125])


@pytest.mark.parametrize("value", [0.0, -1e4])
def test_it_is_finite_for_certain_and_impossible_tokens(value: float) -> None:
    logp = torch.tensor([value], requires_grad=True)
    loss = Wga(objective="wga").loss(tokens(logp))
    assert math.isfinite(loss.item())
    assert torch.isfinite(gradient(loss, logp)).all()
