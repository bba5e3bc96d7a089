"""Each objective satisfies its closed-form identity."""

import math

import pytest
import torch
from torch import Tensor

from xlharm.train.objectives import OBJECTIVES, Target
from xlharm.train.objectives.gradient_ascent import gradient_ascent
from xlharm.train.objectives.likelihood import kl_to_reference, nll
from xlharm.train.objectives.npo import npo


def gradient(value: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, of)
    return found


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(7, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()


def token_logp(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1)[torch.arange(7), torch.arange(7)]


def test_gradient_ascent_is_sft_backwards(logits: Tensor) -> None:
    up = gradient(gradient_ascent(token_logp(logits)), logits)
    torch.testing.assert_close(up, -gradient(nll(token_logp(logits)), logits))


@pytest.mark.parametrize("beta", [0.1, 0.5, 4.5])
def test_npo_at_the_reference(logits: Tensor, beta: float) -> None:
    logp = token_logp(logits)
    loss = npo(logp, logp.detach(), beta=beta)
    assert loss.item() == pytest.approx(2 / beta * math.log(2))
    torch.testing.assert_close(gradient(loss, logits), gradient(token_logp(logits).mean(), logits))


def test_npo_at_the_published_beta_starts_at_13_8629() -> None:
    assert npo(torch.zeros(3), torch.zeros(3), beta=0.1).item() == pytest.approx(13.8629, abs=1e-4)


def test_npo_by_hand() -> None:
    # -(2/0.5) ln(sigmoid(-0.5 * (-1 - -3))) = 4 ln(1 + e)
    assert npo(torch.tensor([-1.0]), torch.tensor([-3.0]), beta=0.5).item() == pytest.approx(4 * math.log(1 + math.e))


@pytest.mark.parametrize("logp", [-1e4, -1e-9])
def test_npo_is_finite_where_the_answer_is_certain_or_impossible(logp: float) -> None:
    value = torch.tensor([logp], requires_grad=True)
    loss = npo(value, torch.tensor([-2.0]), beta=0.1)
    assert math.isfinite(loss.item())
    assert torch.isfinite(gradient(loss, value)).all()


def test_kl_is_zero_with_zero_gradient_at_the_reference(logits: Tensor) -> None:
    logp = logits.log_softmax(-1)
    loss = kl_to_reference(logp, logp.detach())
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert gradient(loss, logits).abs().max().item() == pytest.approx(0, abs=1e-12)


def test_kl_against_torch(logits: Tensor) -> None:
    reference = torch.randn(7, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=reference), torch.distributions.Categorical(logits=logits)
    ).mean()
    assert kl_to_reference(logits.log_softmax(-1), reference).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_halves_weighted_by_their_share_make_the_whole(name: str) -> None:
    objective = OBJECTIVES[name]
    generator = torch.Generator().manual_seed(3)
    tokens, sums, reference = (-torch.rand(n, generator=generator) for n in (8, 4, 4))
    whole = objective.loss(Target(tokens, sums, reference), 0.3)
    parts = [
        (tokens[:2], sums[:1], reference[:1], 2 / 8, 1 / 4),
        (tokens[2:], sums[1:], reference[1:], 6 / 8, 3 / 4),
    ]
    total = sum(
        objective.loss(Target(t, s, r), 0.3) * (token_share if objective.unit == "token" else row_share)
        for t, s, r, token_share, row_share in parts
    )
    assert float(total) == pytest.approx(float(whole), rel=1e-6)
