import math

import pytest
import torch

from tests.methods.made import gradient, label_logp, some_logits, tokens
from xlharm.methods.npo import Npo


@pytest.mark.parametrize("beta", [0.1, 0.5, 4.5])
def test_at_the_reference(beta: float) -> None:
    logits = some_logits()
    logp = label_logp(logits)
    loss = Npo(objective="npo", beta=beta).loss(tokens(logp, reference_logp=logp.detach()))
    assert loss.item() == pytest.approx(2 / beta * math.log(2))
    torch.testing.assert_close(gradient(loss, logits), gradient(label_logp(logits).mean(), logits))


def test_at_the_published_beta_it_starts_at_13_8629() -> None:
    zeros = torch.zeros(3)
    assert Npo(objective="npo").loss(tokens(zeros, reference_logp=zeros)).item() == pytest.approx(13.8629, abs=1e-4)


def test_by_hand() -> None:
    # -(2/0.5) ln(sigmoid(-0.5 * (-1 - -3))) = 4 ln(1 + e)
    x = tokens(torch.tensor([-1.0]), reference_logp=torch.tensor([-3.0]))
    assert Npo(objective="npo", beta=0.5).loss(x).item() == pytest.approx(4 * math.log(1 + math.e))


@pytest.mark.parametrize("logp", [-1e4, -1e-9])
def test_it_is_finite_where_the_answer_is_certain_or_impossible(logp: float) -> None:
    value = torch.tensor([logp], requires_grad=True)
    loss = Npo(objective="npo").loss(tokens(value, reference_logp=torch.tensor([-2.0])))
    assert math.isfinite(loss.item())
    assert torch.isfinite(gradient(loss, value)).all()
