"""Gradient ascent (2210.01504) and its weighted forms: learn the forget set backwards.

All are unbounded below: without a retain term or few steps they destroy the model (a finding of the study, not a
fault here). Weights are detached: they say how much a token counts, and are not themselves learnt.
"""

from torch import Tensor


def gradient_ascent(logp: Tensor) -> Tensor:
    """Mean log-likelihood of the forget tokens: its gradient is SFT's with the sign turned.

    Args:
        logp: log-probability of each forget token, [tokens].
    """
    return logp.mean()


def wga(logp: Tensor, *, beta: float) -> Tensor:
    """E[p^β log p], p detached (weighted gradient ascent, 2502.19301): unlikely tokens are left alone.

    With β = 0 it is gradient ascent.

    Args:
        logp: log-probability of each forget token, [tokens].
        beta: at least 0 (published: 1).
    """
    return ((beta * logp.detach()).exp() * logp).mean()


def satimp(logp: Tensor, *, beta1: float, beta2: float) -> Tensor:
    """E[p^β1 (1 − p)^β2 log p], p detached (saturation and importance weights, 2505.11953).

    With β1 = β2 = 0 it is gradient ascent; a token of probability 1 has no gradient for β2 > 0.

    Args:
        logp: log-probability of each forget token, [tokens].
        beta1: saturation, at least 0 (published: 5).
        beta2: importance, at least 0 (published: 1).
    """
    p = logp.detach().exp()
    return (p**beta1 * (1 - p) ** beta2 * logp).mean()
