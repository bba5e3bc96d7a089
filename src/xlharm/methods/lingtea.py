"""Language-weighted teacher."""

from typing import TYPE_CHECKING, Literal

from xlharm.config.training import Above0
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs

if TYPE_CHECKING:
    from torch import Tensor


class LingTea(LossMethod):
    """Gradient ascent plus a language-weighted teacher on retain rows (2406.12354: T 1); see ``retain.ToTeacher``.

    Attributes:
        temperature: T of the distillation on retain rows.
    """

    objective: Literal["lingtea"]
    retain: Literal["lingtea"] = "lingtea"
    temperature: Above0 = 1.0

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean log π over forget tokens, as in gradient ascent; the loop adds the teacher's term."""
        return x.logp.mean()

    def temperature_of_teacher(self) -> float:
        """Return T."""
        return self.temperature
