"""Language-weighted teacher."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import Above0
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs
from xlharm.methods.retain import ToTeacher

if TYPE_CHECKING:
    from torch import Tensor


class LingTea(LossMethod):
    """Gradient ascent plus a language-weighted teacher on retain rows (2406.12354: T 1); see ``retain.ToTeacher``.

    Attributes:
        temperature: T of the distillation on retain rows.
        normalisation: ``tokens`` takes both parts of the retain term as means over target tokens. ``published`` is as
            in the paper's code: the distillation is summed over a row's tokens and averaged over rows, so that it
            weighs as many times more as a row has tokens.
    """

    added: ClassVar[frozenset[str]] = frozenset({"normalisation"})

    objective: Literal["lingtea"]
    retain: Literal["lingtea"] = "lingtea"
    temperature: Above0 = 1.0
    normalisation: Literal["tokens", "published"] = "tokens"

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean log π over forget tokens, as in gradient ascent; the loop adds the teacher's term."""
        return x.logp.mean()

    def teacher(self) -> ToTeacher:
        """Return the retain term."""
        return ToTeacher(temperature=self.temperature, by_row=self.normalisation == "published")
