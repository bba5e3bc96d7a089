import torch

from tests.methods.made import gradient, label_logp, some_logits, tokens
from xlharm.methods.lingtea import LingTea


def test_its_objective_is_gradient_ascent() -> None:
    logits = some_logits()
    mine = gradient(LingTea(objective="lingtea").loss(tokens(label_logp(logits))), logits)
    torch.testing.assert_close(mine, gradient(label_logp(logits).mean(), logits))


def test_its_retain_term_is_the_teacher_at_its_temperature() -> None:
    from xlharm.methods.retain import ToTeacher

    assert LingTea(objective="lingtea", temperature=2).retain_term() == ToTeacher(temperature=2.0)
