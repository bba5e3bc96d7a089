from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.methods.made import gradient, label_logp, some_logits, tokens
from xlharm.methods.dpo import Dpo
from xlharm.methods.inputs import LossInputs
from xlharm.methods.npo import Npo


def paired(preferred: Tensor, reference_preferred: Tensor, rejected: Tensor, reference_rejected: Tensor) -> LossInputs:
    refusals = tokens(preferred, reference_logp=reference_preferred)
    return replace(tokens(rejected, reference_logp=reference_rejected), preferred=refusals)


def test_at_the_reference() -> None:
    logits = some_logits()
    logp = label_logp(logits)
    loss = Dpo(objective="dpo").loss(paired(logp[:3], logp[:3].detach(), logp[3:6], logp[3:6].detach()))
    assert loss.item() == pytest.approx(13.8629, abs=1e-4)
    # there the gradient is that of rejected - preferred
    expected = gradient(label_logp(logits)[3:6].mean() - label_logp(logits)[:3].mean(), logits)
    torch.testing.assert_close(gradient(loss, logits), expected)


def test_with_a_fixed_preferred_answer_it_is_npo() -> None:
    rejected, reference = torch.tensor([-1.0, -4.0]), torch.tensor([-3.0, -2.0])
    same = torch.tensor([-5.0, -6.0])
    mine = Dpo(objective="dpo", beta=0.5).loss(paired(same, same, rejected, reference))
    theirs = Npo(objective="npo", beta=0.5).loss(tokens(rejected, reference_logp=reference))
    assert mine.item() == pytest.approx(theirs.item())
