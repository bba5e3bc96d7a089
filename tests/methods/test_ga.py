import torch

from tests.methods.made import gradient, label_logp, some_logits, tokens
from xlharm.methods.ga import Ga
from xlharm.methods.retain import ToText


def test_gradient_ascent_is_fine_tuning_backwards() -> None:
    logits = some_logits()
    up = gradient(Ga(objective="ga").loss(tokens(label_logp(logits))), logits)
    torch.testing.assert_close(up, -gradient(ToText().loss(tokens(label_logp(logits))), logits))
