"""Gradient ascent."""

from typing import TYPE_CHECKING, Literal

from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs

if TYPE_CHECKING:
    from torch import Tensor


class Ga(LossMethod):
    """Gradient ascent on the NLL of the forget set (2210.01504, and the released code of 2406.13748).

    The loss has no lower bound. With many steps and no retain term it destroys the model, which is expected.
    """

    objective: Literal["ga"]

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean log π over forget tokens: the loss of fine-tuning with the opposite sign."""
        return x.logp.mean()
