import torch

from tests.methods.made import gradient, label_logp, some_logits, tokens
from xlharm.methods.kl import Kl


def test_its_objective_is_gradient_ascent() -> None:
    logits = some_logits()
    mine = gradient(Kl(objective="kl").loss(tokens(label_logp(logits))), logits)
    torch.testing.assert_close(mine, gradient(label_logp(logits).mean(), logits))


def test_its_retain_term_is_kl_to_the_reference() -> None:
    from xlharm.methods.retain import ToReference

    assert Kl(objective="kl").retain_term() == ToReference()
