"""Self-distillation from adjusted logits."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import AtLeast0
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs, Need

if TYPE_CHECKING:
    from torch import Tensor


class Undial(LossMethod):
    """Self-distillation from the reference model's logits with the true token's logit lowered (2402.10052: β 10).

    The published learning rate is 1e-4. With β = 0 the gradient at the reference model is zero.

    Attributes:
        beta: amount by which the true token's logit is lowered.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"logits", "reference_logits"})

    objective: Literal["undial"]
    beta: AtLeast0 = 10.0

    def loss(self, x: LossInputs) -> "Tensor":
        """E[CE(softmax(z_ref − β·1[y]), π)]: the target is the reference model's distribution with y lowered."""
        import torch
        from torch.nn.functional import cross_entropy

        index = x.labels.unsqueeze(-1)
        reference = x.reference_logits
        lower = torch.full(index.shape, -self.beta, dtype=reference.dtype, device=reference.device)
        return cross_entropy(x.logits, reference.scatter_add(-1, index, lower).softmax(-1))
