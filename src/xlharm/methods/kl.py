"""Gradient ascent held back by KL."""

from typing import TYPE_CHECKING, Literal

from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs

if TYPE_CHECKING:
    from torch import Tensor


class Kl(LossMethod):
    """Gradient ascent plus KL to the model before unlearning on retain rows (2401.06121)."""

    objective: Literal["kl"]
    retain: Literal["kl"] = "kl"

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean log π over forget tokens, as in gradient ascent; the loop adds the KL term."""
        return x.logp.mean()
