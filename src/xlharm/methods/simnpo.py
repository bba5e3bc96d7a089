"""NPO without a reference model."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import Above0, AtLeast0
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs, Unit

if TYPE_CHECKING:
    from torch import Tensor


class SimNpo(LossMethod):
    """NPO without a reference model, length-normalised (2410.07163: β 2.5 on TOFU forget05, margin 0, weight 0.1375).

    The paper and its code write γ for the margin. Here δ is the margin, and γ (``forget_weight``) the weight of the
    objective.

    Attributes:
        beta: inverse temperature (published: 2.5 to 4.5).
        delta: margin δ that the NLL per token should exceed (published: 0).
    """

    unit: ClassVar[Unit] = "row"

    objective: Literal["simnpo"]
    beta: Above0 = 2.5
    delta: float = 0.0
    forget_weight: AtLeast0 = 0.1375
    retain: Literal["none", "nll", "kl", "hidden", "lingtea"] = "nll"

    def loss(self, x: LossInputs) -> "Tensor":
        """−(2/β) E[log σ(β (−log π(y|x) / |y| − δ))], |y|: number of tokens of the answer."""
        from torch.nn.functional import logsigmoid

        mean_logp = x.row_logp / x.row_lengths
        return -(2 / self.beta) * logsigmoid(self.beta * (-mean_logp - self.delta)).mean()
