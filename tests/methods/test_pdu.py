import pytest
import torch

from tests.methods.made import gradient, tokens
from xlharm.methods.pdu import Pdu


def test_by_hand() -> None:
    # logits (3, 1, 2): max - mean = 1; (0, 4, -1): 3. Mean of the squares: 5
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 4.0, -1.0]], dtype=torch.float64, requires_grad=True)
    loss = Pdu(objective="pdu").loss(tokens(torch.zeros(2), logits=logits))
    assert loss.item() == pytest.approx(5)
    # of the first: (1/2) · 2 · 1 · (1 - 1/3, -1/3, -1/3)
    assert gradient(loss, logits)[0].tolist() == pytest.approx([2 / 3, -1 / 3, -1 / 3])


def test_equal_logits_have_zero_loss_whatever_their_height() -> None:
    logits = torch.full((2, 5), 7.0, requires_grad=True)
    loss = Pdu(objective="pdu").loss(tokens(torch.zeros(2), logits=logits))
    assert loss.item() == 0
    assert gradient(loss, logits).abs().max().item() == 0


def test_the_weight_rises_above_the_tolerance_and_falls_below_it_to_0_at_least() -> None:
    method = Pdu(objective="pdu", tolerance=0.5, dual_step=2, retain_weight=1)
    weight = method.next_retain_weight(method.retain_weight, torch.tensor(0.75))
    assert float(weight) == pytest.approx(1 + 2 * 0.25)
    weight = method.next_retain_weight(weight, torch.tensor(0.25))
    assert float(weight) == pytest.approx(1.0)
    assert float(method.next_retain_weight(weight, torch.tensor(-3.0))) == 0


def test_at_the_tolerance_the_weight_stays() -> None:
    assert float(Pdu(objective="pdu", tolerance=0.5).next_retain_weight(3.0, torch.tensor(0.5))) == 3
