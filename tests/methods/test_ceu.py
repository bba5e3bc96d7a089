import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.methods.made import gradient, rows, tokens
from xlharm.methods.ceu import Ceu
from xlharm.methods.inputs import LossInputs


def token_losses(x: LossInputs) -> Tensor:
    """Cross-entropy of each token by its definition: −Σ q log π, q the model's own distribution without the label."""
    p = x.logits.softmax(-1)
    other = p.scatter(-1, x.labels.unsqueeze(-1), 0)
    return -(other / other.sum(-1, keepdim=True) * p.log()).sum(-1)


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


def test_the_first_tokens_of_each_row_can_be_left_alone() -> None:
    """Rows of two tokens each: what is left is the mean over the second ones."""
    x = rows([0, 1, 2])
    assert Ceu(objective="ceu").loss(x).item() == pytest.approx(token_losses(x).mean().item())
    assert Ceu(objective="ceu", skip_tokens=1).loss(x).item() == pytest.approx(token_losses(x)[1::2].mean().item())
    assert Ceu(objective="ceu", skip_tokens=2).loss(x).item() == 0


def test_micro_batches_share_the_tokens_that_are_kept() -> None:
    """Rows of 3 and 1 targets, of which 2 and 0 are kept: the sum over micro-batches is the mean over the 2."""
    method, whole = Ceu(objective="ceu", skip_tokens=1), replace(rows([0, 1]), owner=torch.tensor([0, 0, 0, 1]))
    total = 0.0
    for some, share in ((slice(0, 3), 3 / 4), (slice(3, 4), 1 / 4)):
        part = replace(
            whole, logp=whole.logp[some], labels=whole.labels[some], owner=torch.zeros_like(whole.owner[some]), rows=1,
            optional_logits=whole.logits[some], batch_lengths=(3, 1),
        )  # fmt: skip
        total += method.loss(part).item() * share
    assert total == pytest.approx(method.loss(whole).item())
    assert total == pytest.approx(token_losses(whole)[1:3].mean().item())
