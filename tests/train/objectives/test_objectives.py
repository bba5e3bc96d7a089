"""Each objective satisfies its closed-form identity."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from xlharm.train.objectives import OBJECTIVES, RETAIN, Objective, Seen
from xlharm.train.objectives.distillation import ceu, kl_to_reference, lingtea_retain, undial
from xlharm.train.objectives.gradient_ascent import gradient_ascent, satimp, wga
from xlharm.train.objectives.likelihood import nll
from xlharm.train.objectives.preference import dpo, npo, simnpo
from xlharm.train.objectives.representation import direction, misdirection, stay

LABELS = torch.arange(7)
PARAMETERS: dict[str, dict[str, Any]] = {
    "npo": {"beta": 0.3},
    "simnpo": {"beta": 2.5, "delta": 0.2},
    "dpo": {"beta": 0.3},
    "undial": {"beta": 10.0},
    "wga": {"beta": 1.0},
    "satimp": {"beta1": 5.0, "beta2": 1.0},
}


def gradient(value: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, of)
    return found


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def logits() -> Tensor:
    return draw(7, 11, seed=1).requires_grad_()


def token_logp(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1)[torch.arange(7), LABELS]


def test_gradient_ascent_is_sft_backwards(logits: Tensor) -> None:
    up = gradient(gradient_ascent(token_logp(logits)), logits)
    torch.testing.assert_close(up, -gradient(nll(token_logp(logits)), logits))


@pytest.mark.parametrize("loss", [lambda x: wga(x, beta=0.0), lambda x: satimp(x, beta1=0.0, beta2=0.0)])
def test_weighted_ascent_without_weights_is_gradient_ascent(logits: Tensor, loss: Callable[[Tensor], Tensor]) -> None:
    logp = token_logp(logits)
    assert loss(logp).item() == pytest.approx(gradient_ascent(logp).item())
    torch.testing.assert_close(gradient(loss(logp), logits), gradient(gradient_ascent(token_logp(logits)), logits))


def test_wga_by_hand() -> None:
    # p = 1/2 and 1/4: mean(1/2 ln 1/2, 1/4 ln 1/4) = -(ln 2)/2; gradient on log p is p / n, p being detached
    logp = torch.tensor([0.5, 0.25], dtype=torch.float64).log().requires_grad_()
    loss = wga(logp, beta=1.0)
    assert loss.item() == pytest.approx(-math.log(2) / 2)
    assert gradient(loss, logp).tolist() == pytest.approx([0.25, 0.125])


def test_satimp_by_hand() -> None:
    # p = 1/2: (1/2)^5 (1/2)^1 ln(1/2)
    logp = torch.tensor([0.5], dtype=torch.float64).log()
    assert satimp(logp, beta1=5.0, beta2=1.0).item() == pytest.approx(-math.log(2) / 64)


@pytest.mark.parametrize("loss", [lambda x: wga(x, beta=1.0), lambda x: satimp(x, beta1=5.0, beta2=1.0)])
@pytest.mark.parametrize("value", [0.0, -1e4])
def test_weighted_ascent_is_finite_for_certain_and_impossible_tokens(
    loss: Callable[[Tensor], Tensor], value: float
) -> None:
    logp = torch.tensor([value], requires_grad=True)
    assert math.isfinite(loss(logp).item())
    assert torch.isfinite(gradient(loss(logp), logp)).all()


def test_satimp_leaves_a_certain_token_alone() -> None:
    logp = torch.zeros(1, requires_grad=True)
    assert gradient(satimp(logp, beta1=5.0, beta2=1.0), logp).item() == 0


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


def test_simnpo_at_certainty_and_by_hand() -> None:
    assert simnpo(torch.zeros(2), beta=2.5, delta=0.0).item() == pytest.approx(2 / 2.5 * math.log(2))
    # mean log p = -2, margin 1, beta 2: -ln sigmoid(2 (2 - 1)) = ln(1 + e^-2)
    assert simnpo(torch.tensor([-2.0]), beta=2.0, delta=1.0).item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_simnpo_falls_silent_where_the_answer_is_impossible() -> None:
    logp = torch.tensor([-1e4], requires_grad=True)
    assert gradient(simnpo(logp, beta=2.5, delta=0.0), logp).item() == 0


def test_dpo_at_the_reference(logits: Tensor) -> None:
    logp = token_logp(logits)
    loss = dpo(logp[:3], logp[:3].detach(), logp[3:6], logp[3:6].detach(), beta=0.1)
    assert loss.item() == pytest.approx(13.8629, abs=1e-4)
    # there the gradient is that of rejected - preferred
    expected = gradient(token_logp(logits)[3:6].mean() - token_logp(logits)[:3].mean(), logits)
    torch.testing.assert_close(gradient(loss, logits), expected)


def test_dpo_with_a_fixed_preferred_answer_is_npo() -> None:
    rejected, reference = torch.tensor([-1.0, -4.0]), torch.tensor([-3.0, -2.0])
    same = torch.tensor([-5.0, -6.0])
    assert dpo(same, same, rejected, reference, beta=0.5).item() == pytest.approx(
        npo(rejected, reference, beta=0.5).item()
    )


def test_kl_is_zero_with_zero_gradient_at_the_reference(logits: Tensor) -> None:
    loss = kl_to_reference(logits, logits.detach())
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert gradient(loss, logits).abs().max().item() == pytest.approx(0, abs=1e-12)


def test_kl_against_torch(logits: Tensor) -> None:
    reference = draw(7, 11, seed=2)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=reference), torch.distributions.Categorical(logits=logits)
    ).mean()
    assert kl_to_reference(logits, reference).item() == pytest.approx(expected.item())


def test_undial_with_nothing_lowered_has_no_gradient_at_the_reference(logits: Tensor) -> None:
    found = gradient(undial(logits, logits.detach(), LABELS, beta=0.0), logits)
    assert found.abs().max().item() == pytest.approx(0, abs=1e-12)


def test_undial_by_hand() -> None:
    # reference logits 0, 0 with the true one lowered by ln 3: target (1/4, 3/4); model uniform: CE = ln 2,
    # gradient = model - target = (1/4, -1/4)
    logits = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    loss = undial(logits, torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0]), beta=math.log(3))
    assert loss.item() == pytest.approx(math.log(2))
    assert gradient(loss, logits).tolist()[0] == pytest.approx([0.25, -0.25])


def test_ceu_by_hand() -> None:
    # three tokens of equal logits, the first true: target (0, 1/2, 1/2); CE = ln 3, gradient (1/3, -1/6, -1/6)
    logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    loss = ceu(logits, torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log(3))
    assert gradient(loss, logits).tolist()[0] == pytest.approx([1 / 3, -1 / 6, -1 / 6])


def test_ceu_is_finite_where_the_true_token_has_all_the_mass() -> None:
    logits = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    loss = ceu(logits, torch.tensor([0]))
    assert math.isfinite(loss.item())
    assert gradient(loss, logits).tolist()[0] == pytest.approx([1, -0.5, -0.5])


def test_lingtea_is_distillation_where_the_teacher_is_sure_and_nll_where_it_is_not(logits: Tensor) -> None:
    reference = draw(7, 11, seed=2)
    sure = lingtea_retain(logits, reference, LABELS, temperature=1.0, confidence=torch.ones(7, dtype=torch.float64))
    assert sure.item() == pytest.approx(kl_to_reference(logits, reference).item())
    unsure = lingtea_retain(logits, reference, LABELS, temperature=1.0, confidence=torch.zeros(7, dtype=torch.float64))
    assert unsure.item() == pytest.approx(nll(token_logp(logits)).item())


def test_lingtea_takes_the_teachers_probability_of_the_true_token() -> None:
    # teacher (3/4, 1/4), true token the first: p = 3/4; model uniform: KL = ln 2 - H(3/4), NLL = ln 2
    teacher = torch.tensor([[3.0, 1.0]], dtype=torch.float64).log()
    kl = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    found = lingtea_retain(torch.zeros(1, 2, dtype=torch.float64), teacher, torch.tensor([0]), temperature=1.0)
    assert found.item() == pytest.approx(0.75 * kl + 0.25 * math.log(2))


def test_rmu_by_hand() -> None:
    hidden = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    loss = misdirection(hidden, torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx((0 + 4 + 4 + 16) / 2)
    assert gradient(loss, hidden).tolist() == [[0, 2], [2, 4]]


def test_rmus_direction_is_one_unit_vector_a_seed() -> None:
    u = direction(64, seed=3)
    assert u.norm().item() == pytest.approx(1, abs=1e-6)
    assert (u >= 0).all()
    torch.testing.assert_close(u, direction(64, seed=3))
    assert not torch.equal(u, direction(64, seed=4))


def test_rmus_retain_term_is_zero_with_zero_gradient_at_the_reference() -> None:
    hidden = draw(5, 8, seed=1).requires_grad_()
    loss = stay(hidden, hidden.detach())
    assert loss.item() == 0
    assert gradient(loss, hidden).abs().max().item() == 0


def seen(rows: list[int], *, seed: int = 3) -> Seen:
    """Make up what an objective sees of the given rows out of four of two tokens each."""
    tokens = [t for r in rows for t in (2 * r, 2 * r + 1)]
    logits, reference = draw(8, 11, seed=seed)[tokens], draw(8, 11, seed=seed + 1)[tokens]
    labels = torch.arange(8)[tokens]

    def logp(of: Tensor) -> Tensor:
        return of.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)

    common: dict[str, Any] = {
        "logp": logp(logits),
        "labels": labels,
        "owner": torch.arange(len(rows)).repeat_interleave(2),
        "rows": len(rows),
        "reference_logp": logp(reference),
        "logits": logits,
        "reference_logits": reference,
        "hidden": draw(8, 5, seed=seed + 2)[tokens],
        "reference_hidden": draw(8, 5, seed=seed + 3)[tokens],
        "direction": draw(5, seed=seed + 4),
    }
    return Seen(**common, preferred=Seen(**{**common, "logp": common["logp"] * 0.5}))


EVERY = [*OBJECTIVES.items(), *((f"retain {name}", objective) for name, objective in RETAIN.items())]


@pytest.mark.parametrize(("name", "objective"), EVERY, ids=[name for name, _ in EVERY])
def test_parts_weighted_by_their_share_make_the_whole(name: str, objective: Objective) -> None:
    parameters = PARAMETERS.get(name, {})
    whole = objective.loss(seen([0, 1, 2, 3]), parameters)
    parts = [(seen([0]), 1 / 4), (seen([1, 2, 3]), 3 / 4)]
    assert sum(float(objective.loss(s, parameters)) * w for s, w in parts) == pytest.approx(float(whole), rel=1e-9)


@pytest.mark.parametrize("name", [n for n, o in OBJECTIVES.items() if o.unit == "row"])
def test_a_row_counts_once_however_long_it_is(name: str) -> None:
    """A row cut into more tokens of the same total (or mean) is the same row."""
    ones = seen([0, 1, 2, 3])
    total = ones.by_row(ones.logp) if name != "simnpo" else ones.by_row(ones.logp) / 2
    assert ones.reference_logp is not None
    short = Seen(
        logp=total, labels=torch.arange(4), owner=torch.arange(4), rows=4,
        reference_logp=ones.by_row(ones.reference_logp), preferred=ones.preferred,
    )  # fmt: skip
    parameters = PARAMETERS[name]
    assert float(OBJECTIVES[name].loss(short, parameters)) == pytest.approx(
        float(OBJECTIVES[name].loss(ones, parameters))
    )
