"""NPO without a reference model."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import Above0, AtLeast0
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs, Unit

if TYPE_CHECKING:
    from torch import Tensor


class SimNpo(LossMethod):
    """NPO without a reference, length-normalised (2410.07163: β 2.5 on TOFU forget05, margin 0, γ 0.1375).

    The method's code and paper write the margin as γ; γ here is the weight of the whole term, as elsewhere.

    Attributes:
        beta: inverse temperature (published: 2.5 to 4.5).
        delta: margin that the NLL a token should have (published: 0).
    """

    unit: ClassVar[Unit] = "row"

    objective: Literal["simnpo"]
    beta: Above0 = 2.5
    delta: float = 0.0
    forget_weight: AtLeast0 = 0.1375
    retain: Literal["none", "nll", "kl", "hidden", "lingtea"] = "nll"

    def loss(self, x: LossInputs) -> "Tensor":
        """−(2/β) E[log σ(β (−log π(y|x) / |y| − δ))], |y| the answer's length in tokens."""
        from torch.nn.functional import logsigmoid

        mean_logp = x.row_logp / x.row_lengths
        return -(2 / self.beta) * logsigmoid(self.beta * (-mean_logp - self.delta)).mean()
