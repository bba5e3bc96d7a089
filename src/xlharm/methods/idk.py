"""Learning to refuse."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.unlearning import RowsName
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs

if TYPE_CHECKING:
    from torch import Tensor


class Idk(LossMethod):
    """Learn to answer the forget questions with a refusal in their language (2401.06121)."""

    rows: ClassVar[RowsName] = "refusal"

    objective: Literal["idk"]
    forget: Literal["qa"] = "qa"
    retain: Literal["none", "nll", "kl", "hidden", "lingtea"] = "nll"

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean −log π over the refusals' tokens."""
        return -x.logp.mean()
