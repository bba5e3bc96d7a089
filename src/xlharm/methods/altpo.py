"""Alternate preference optimisation."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import Above0
from xlharm.config.unlearning import RowsName
from xlharm.methods.base import LossMethod
from xlharm.methods.dpo import preference
from xlharm.methods.inputs import LossInputs, Need, Unit

if TYPE_CHECKING:
    from torch import Tensor


class AltPo(LossMethod):
    """Preference of other plausible answers over the fake one, with a retain term (AltPO; 2409.13474: β 0.1).

    The paper lets the model itself write the other answers. Here they are the forget rows' answers with other items'
    fake details, so that they are in the language of the question and no model is asked. The loss is DPO's: at the
    reference model it is (2/β) ln 2.

    Attributes:
        beta: inverse temperature (published: 0.1).
    """

    rows: ClassVar[RowsName] = "alternatives"
    unit: ClassVar[Unit] = "row"
    needs: ClassVar[frozenset[Need]] = frozenset({"reference_logp"})

    objective: Literal["altpo"]
    forget: Literal["qa"] = "qa"
    beta: Above0 = 0.1
    retain: Literal["none", "nll", "kl", "hidden", "lingtea"] = "nll"

    def loss(self, x: LossInputs) -> "Tensor":
        """−(2/β) E[log σ(β ((log π − log π_ref)(other answer) − (log π − log π_ref)(fake answer)))]."""
        return preference(x, beta=self.beta)
