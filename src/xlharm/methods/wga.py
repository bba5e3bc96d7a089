"""Weighted gradient ascent."""

from typing import TYPE_CHECKING, Literal

from xlharm.config.training import AtLeast0
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs

if TYPE_CHECKING:
    from torch import Tensor


class Wga(LossMethod):
    """Gradient ascent weighted by each token's probability, so that unlikely tokens hardly change (2502.19301: β 1).

    With β = 0 it is gradient ascent.

    Attributes:
        beta: exponent of the weight.
    """

    objective: Literal["wga"]
    beta: AtLeast0 = 1.0

    def loss(self, x: LossInputs) -> "Tensor":
        """E[p^β log p]; no gradient flows through the weight p^β."""
        return ((self.beta * x.logp.detach()).exp() * x.logp).mean()
