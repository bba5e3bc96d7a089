"""Negative preference optimisation."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import Above0
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs, Need, Unit

if TYPE_CHECKING:
    from torch import Tensor


class Npo(LossMethod):
    """Negative preference optimisation (2404.05868: β 0.1).

    At the reference model the loss is (2/β) ln 2, and its gradient is that of gradient ascent on the summed
    log-likelihood. As β → 0 it approaches gradient ascent. Its gradient vanishes as an answer becomes unlikely.

    Attributes:
        beta: inverse temperature.
    """

    unit: ClassVar[Unit] = "row"
    needs: ClassVar[frozenset[Need]] = frozenset({"reference_logp"})

    objective: Literal["npo"]
    beta: Above0 = 0.1

    def loss(self, x: LossInputs) -> "Tensor":
        """−(2/β) E[log σ(−β (log π(y|x) − log π_ref(y|x)))], log-probabilities summed over the answer."""
        from torch.nn.functional import logsigmoid

        return -(2 / self.beta) * logsigmoid(-self.beta * (x.row_logp - x.reference_row_logp)).mean()
