import math

import pytest
import torch

from tests.methods.made import gradient, tokens
from xlharm.methods.ceu import Ceu


def test_by_hand() -> None:
    # three tokens of equal logits, the first true: target (0, 1/2, 1/2); CE = ln 3, gradient (1/3, -1/6, -1/6)
    logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    loss = Ceu(objective="ceu").loss(tokens(torch.zeros(1), logits=logits))
    assert loss.item() == pytest.approx(math.log(3))
    assert gradient(loss, logits).tolist()[0] == pytest.approx([1 / 3, -1 / 6, -1 / 6])


def test_it_is_finite_where_the_true_token_has_all_the_mass() -> None:
    logits = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    loss = Ceu(objective="ceu").loss(tokens(torch.zeros(1), logits=logits))
    assert math.isfinite(loss.item())
    assert gradient(loss, logits).tolist()[0] == pytest.approx([1, -0.5, -0.5])
