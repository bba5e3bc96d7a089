import torch

from tests.methods.made import gradient, label_logp, some_logits, tokens
from xlharm.methods.graddiff import GradDiff


def test_its_objective_is_gradient_ascent() -> None:
    logits = some_logits()
    mine = gradient(GradDiff(objective="graddiff").loss(tokens(label_logp(logits))), logits)
    torch.testing.assert_close(mine, gradient(label_logp(logits).mean(), logits))


def test_it_has_a_retain_term_of_its_own() -> None:
    from xlharm.methods.retain import ToText

    assert GradDiff(objective="graddiff").retain_term() == ToText()
