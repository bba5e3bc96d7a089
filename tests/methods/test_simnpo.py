import math

import pytest
import torch

from tests.methods.made import gradient, rows, tokens
from xlharm.methods.inputs import LossInputs
from xlharm.methods.simnpo import SimNpo


def test_at_certainty_and_by_hand() -> None:
    assert SimNpo(objective="simnpo").loss(tokens(torch.zeros(2))).item() == pytest.approx(2 / 2.5 * math.log(2))
    # mean log p = -2, margin 1, beta 2: -ln sigmoid(2 (2 - 1)) = ln(1 + e^-2)
    loss = SimNpo(objective="simnpo", beta=2, delta=1).loss(tokens(torch.tensor([-2.0])))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_it_has_no_gradient_where_the_answer_is_impossible() -> None:
    logp = torch.tensor([-1e4], requires_grad=True)
    assert gradient(SimNpo(objective="simnpo").loss(tokens(logp)), logp).item() == 0


def test_a_row_counts_once_however_long_it_is() -> None:
    """A row cut into more tokens of the same mean is the same row."""
    long = rows([0, 1, 2, 3])
    short = LossInputs(logp=long.row_logp / 2, labels=torch.arange(4), owner=torch.arange(4), rows=4)
    method = SimNpo(objective="simnpo")
    assert float(method.loss(short)) == pytest.approx(float(method.loss(long)))
