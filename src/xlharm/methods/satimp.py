"""Gradient ascent with saturation and importance weights."""

from typing import TYPE_CHECKING, Literal

from xlharm.config.training import AtLeast0
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs

if TYPE_CHECKING:
    from torch import Tensor


class SatImp(LossMethod):
    """Gradient ascent weighted by saturation and importance (2505.11953: β1 5, β2 1).

    With β1 = β2 = 0 it is gradient ascent. With β2 > 0, tokens of probability 1 have no gradient.

    Attributes:
        beta1: exponent of p in a token's weight (saturation).
        beta2: exponent of 1 − p in a token's weight (importance).
    """

    objective: Literal["satimp"]
    beta1: AtLeast0 = 5.0
    beta2: AtLeast0 = 1.0

    def loss(self, x: LossInputs) -> "Tensor":
        """E[p^β1 (1 − p)^β2 log p]; no gradient flows through the weights."""
        p = x.logp.detach().exp()
        return (p**self.beta1 * (1 - p) ** self.beta2 * x.logp).mean()
