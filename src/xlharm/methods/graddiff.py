"""Gradient difference."""

from typing import TYPE_CHECKING, Literal

from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs

if TYPE_CHECKING:
    from torch import Tensor


class GradDiff(LossMethod):
    """Gradient difference (2203.12817): gradient ascent plus a retain term."""

    objective: Literal["graddiff"]
    retain: Literal["nll", "kl", "hidden", "lingtea"] = "nll"

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean log π over forget tokens, as in gradient ascent; the loop adds the retain term."""
        return x.logp.mean()
