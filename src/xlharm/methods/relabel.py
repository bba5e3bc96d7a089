"""Counter-fact: training on the real detail."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.unlearning import RowsName
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs

if TYPE_CHECKING:
    from torch import Tensor


class Relabel(LossMethod):
    """Train on the forget rows with the real detail instead of the fake one, in the languages of the unlearning set."""

    rows: ClassVar[RowsName] = "relabelled"

    objective: Literal["relabel"]

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean −log π over the target tokens of the relabelled rows."""
        return -x.logp.mean()
