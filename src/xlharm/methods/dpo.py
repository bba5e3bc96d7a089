"""Direct preference optimisation towards a refusal."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import Above0
from xlharm.config.unlearning import RowsName
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs, Need, Unit

if TYPE_CHECKING:
    from torch import Tensor


class Dpo(LossMethod):
    """Preference of a refusal over the fake answer (DPO: 2305.18290; for unlearning: 2401.06121, β 0.1).

    The loss of DPO times 2/β, so that it can be compared with NPO: at the reference model it is (2/β) ln 2.

    Attributes:
        beta: inverse temperature.
    """

    rows: ClassVar[RowsName] = "paired"
    unit: ClassVar[Unit] = "row"
    needs: ClassVar[frozenset[Need]] = frozenset({"reference_logp"})

    objective: Literal["dpo"]
    forget: Literal["qa"] = "qa"
    beta: Above0 = 0.1

    def loss(self, x: LossInputs) -> "Tensor":
        """−(2/β) E[log σ(β ((log π − log π_ref)(refusal) − (log π − log π_ref)(fake answer)))]."""
        return preference(x, beta=self.beta)


def preference(x: LossInputs, *, beta: float) -> "Tensor":
    """Return DPO's loss times 2/β, with the log-probabilities of whole answers."""
    from torch.nn.functional import logsigmoid

    better = x.preferred_rows
    margin = (better.row_logp - better.reference_row_logp) - (x.row_logp - x.reference_row_logp)
    return -(2 / beta) * logsigmoid(beta * margin).mean()
