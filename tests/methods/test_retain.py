"""The terms on retain rows satisfy their closed-form identities."""

import math

import pytest
import torch

from tests.methods.made import draw, gradient, label_logp, some_logits, tokens
from xlharm.methods.retain import ToHidden, ToReference, ToTeacher, ToText


def test_kl_is_zero_with_zero_gradient_at_the_reference() -> None:
    logits = some_logits()
    loss = ToReference().loss(tokens(label_logp(logits), logits=logits, reference_logits=logits.detach()))
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert gradient(loss, logits).abs().max().item() == pytest.approx(0, abs=1e-12)


def test_kl_against_torch() -> None:
    logits, reference = some_logits(), draw(7, 11, seed=2)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=reference), torch.distributions.Categorical(logits=logits)
    ).mean()
    x = tokens(label_logp(logits), logits=logits, reference_logits=reference)
    assert ToReference().loss(x).item() == pytest.approx(expected.item())


def test_hidden_states_have_zero_loss_with_zero_gradient_at_the_reference() -> None:
    hidden = draw(5, 8, seed=1).requires_grad_()
    loss = ToHidden().loss(tokens(torch.zeros(5), hidden=hidden, reference_hidden=hidden.detach()))
    assert loss.item() == 0
    assert gradient(loss, hidden).abs().max().item() == 0


def test_the_teacher_is_distilled_where_it_is_sure_and_the_text_learnt_where_it_is_not() -> None:
    logits, reference = some_logits(), draw(7, 11, seed=2)
    x = tokens(label_logp(logits), logits=logits, reference_logits=reference)
    ones = torch.ones(7, dtype=torch.float64)
    assert ToTeacher().mixture(x, confidence=ones).item() == pytest.approx(ToReference().loss(x).item())
    assert ToTeacher().mixture(x, confidence=0 * ones).item() == pytest.approx(ToText().loss(x).item())


def test_the_weight_is_the_teachers_probability_of_the_true_token() -> None:
    # teacher (3/4, 1/4), true token the first: p = 3/4; model uniform: KL = ln 2 - H(3/4), NLL = ln 2
    teacher = torch.tensor([[3.0, 1.0]], dtype=torch.float64).log()
    kl = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    x = tokens(torch.zeros(1), logits=torch.zeros(1, 2, dtype=torch.float64), reference_logits=teacher)
    assert ToTeacher().loss(x).item() == pytest.approx(0.75 * kl + 0.25 * math.log(2))
