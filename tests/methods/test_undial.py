import math

import pytest
import torch

from tests.methods.made import gradient, label_logp, some_logits, tokens
from xlharm.methods.undial import Undial


def test_with_nothing_lowered_it_has_no_gradient_at_the_reference() -> None:
    logits = some_logits()
    x = tokens(label_logp(logits), logits=logits, reference_logits=logits.detach())
    ours = gradient(Undial(objective="undial", beta=0).loss(x), logits)
    assert ours.abs().max().item() == pytest.approx(0, abs=1e-12)


def test_by_hand() -> None:
    # reference logits 0, 0 with the true one lowered by ln 3: target (1/4, 3/4); model uniform: CE = ln 2,
    # gradient = model - target = (1/4, -1/4)
    logits = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    x = tokens(torch.zeros(1), logits=logits, reference_logits=torch.zeros(1, 2, dtype=torch.float64))
    loss = Undial(objective="undial", beta=math.log(3)).loss(x)
    assert loss.item() == pytest.approx(math.log(2))
    assert gradient(loss, logits).tolist()[0] == pytest.approx([0.25, -0.25])
