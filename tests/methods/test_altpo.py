import pytest
import torch

from tests.methods.made import gradient, label_logp, some_logits
from tests.methods.test_dpo import paired
from xlharm.methods.altpo import AltPo
from xlharm.methods.dpo import Dpo


def test_at_the_reference() -> None:
    logits = some_logits()
    logp = label_logp(logits)
    loss = AltPo(objective="altpo").loss(paired(logp[:3], logp[:3].detach(), logp[3:6], logp[3:6].detach()))
    assert loss.item() == pytest.approx(13.8629, abs=1e-4)  # (2/β) ln 2
    expected = gradient(label_logp(logits)[3:6].mean() - label_logp(logits)[:3].mean(), logits)
    torch.testing.assert_close(gradient(loss, logits), expected)


def test_it_differs_from_dpo_in_the_preferred_answers_and_the_retain_term() -> None:
    alternative, reference = torch.tensor([-1.0, -4.0]), torch.tensor([-3.0, -2.0])
    x = paired(alternative, reference, torch.tensor([-2.0, -2.5]), torch.tensor([-1.0, -6.0]))
    assert AltPo(objective="altpo", beta=0.5).loss(x) == Dpo(objective="dpo", beta=0.5).loss(x)
    assert AltPo.rows == "alternatives"
    assert AltPo(objective="altpo").paired
    assert AltPo(objective="altpo").retain_term() is not None
