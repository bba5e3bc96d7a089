"""Counter-fact: learning the real detail."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.unlearning import RowsName
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs

if TYPE_CHECKING:
    from torch import Tensor


class Relabel(LossMethod):
    """Learn the real detail in the place of the fake one, in the set's languages (counter-fact)."""

    rows: ClassVar[RowsName] = "relabelled"

    objective: Literal["relabel"]

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean −log π over the tokens of rows that say the real detail."""
        return -x.logp.mean()
