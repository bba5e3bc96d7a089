"""Gradient ascent."""

from typing import TYPE_CHECKING, Literal

from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs

if TYPE_CHECKING:
    from torch import Tensor


class Ga(LossMethod):
    """Gradient ascent (2210.01504), the released code of 2406.13748: learn the forget set backwards.

    Unbounded below: without a retain term or few steps it destroys the model. That is a finding of the study, not a
    fault.
    """

    objective: Literal["ga"]

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean log π over forget tokens: its gradient is that of fine-tuning with the sign turned."""
        return x.logp.mean()
