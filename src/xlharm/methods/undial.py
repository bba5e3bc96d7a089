"""Self-distillation from adjusted logits."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import AtLeast0
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs, Need

if TYPE_CHECKING:
    from torch import Tensor


class Undial(LossMethod):
    """Self-distillation from logits with the true token's lowered (2402.10052: β 10, rate 1e-4).

    With β = 0 the gradient at the reference is zero.

    Attributes:
        beta: how far the true token's logit is lowered.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"logits", "reference_logits"})

    objective: Literal["undial"]
    beta: AtLeast0 = 10.0

    def loss(self, x: LossInputs) -> "Tensor":
        """E[CE(softmax(z_ref − β·1[y]), π)]: learn the reference's own distribution with the true token lowered."""
        import torch
        from torch.nn.functional import cross_entropy

        index = x.labels.unsqueeze(-1)
        reference = x.reference_logits
        lower = torch.full(index.shape, -self.beta, dtype=reference.dtype, device=reference.device)
        return cross_entropy(x.logits, reference.scatter_add(-1, index, lower).softmax(-1))
