"""Gradient ascent (2210.01504): learn the forget set backwards."""

from torch import Tensor


def gradient_ascent(token_logp: Tensor) -> Tensor:
    """Mean log-likelihood of the forget tokens: its gradient is SFT's with the sign turned.

    Unbounded below: without a retain term or few steps it destroys the model (that is a finding of the study,
    not a fault here).

    Args:
        token_logp: log-probability of each forget token, [tokens].
    """
    return token_logp.mean()
