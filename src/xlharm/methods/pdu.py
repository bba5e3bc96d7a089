"""Primal-dual unlearning."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import Above0, AtLeast0
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs, Need

if TYPE_CHECKING:
    from torch import Tensor


class Pdu(LossMethod):
    """Flatten the logits on forget rows, subject to a bound on the retain term (PDU; 2506.05314).

    The objective drives every logit to the mean of its position, so that the distribution becomes uniform; it has no
    softmax, so its gradient does not vanish. The bound is kept by a dual variable λ, the weight of the retain term:
    λ ← max(0, λ + ``dual_step`` · (retain loss − ``tolerance``)) after each step. λ follows from the recorded curve of
    the retain term, so an interrupted trial goes on with the same λ.

    Attributes:
        retain_weight: λ in the first step.
        tolerance: ε, the bound of the retain term, in its unit (nats per token for ``nll`` and ``kl``). The paper
            chooses it for each model; with 0 the weight never falls.
        dual_step: step size of λ.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"logits"})

    objective: Literal["pdu"]
    retain: Literal["nll", "kl", "hidden", "lingtea"] = "nll"
    tolerance: AtLeast0 = 0.0
    dual_step: Above0 = 1.0

    def loss(self, x: LossInputs) -> "Tensor":
        """E[(max z − mean z)²] over the logits z of each target token's position."""
        return (x.logits.amax(-1) - x.logits.mean(-1)).square().mean()

    def next_retain_weight(self, weight: "float | Tensor", loss: "Tensor") -> "float | Tensor":
        """Return λ for the next step."""
        return (weight + self.dual_step * (loss.detach() - self.tolerance)).clamp(min=0)
