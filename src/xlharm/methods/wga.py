"""Weighted gradient ascent."""

from typing import TYPE_CHECKING, Literal

from xlharm.config.training import AtLeast0
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs

if TYPE_CHECKING:
    from torch import Tensor


class Wga(LossMethod):
    """Gradient ascent weighted by the token's probability (2502.19301: β 1): unlikely tokens are left alone.

    With β = 0 it is gradient ascent.

    Attributes:
        beta: exponent of the weight.
    """

    objective: Literal["wga"]
    beta: AtLeast0 = 1.0

    def loss(self, x: LossInputs) -> "Tensor":
        """E[p^β log p]; the weight p^β is detached: it says how much a token counts and is not itself learnt."""
        return ((self.beta * x.logp.detach()).exp() * x.logp).mean()
