"""Cross-entropy unlearning."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs, Need

if TYPE_CHECKING:
    from torch import Tensor


class Ceu(LossMethod):
    """Cross-entropy to the model's own distribution without the true token (2503.01224).

    The target distribution is the model's own with the true token's probability set to 0 and the others scaled up. The
    loss is finite even if the true token has all the probability.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"logits"})

    objective: Literal["ceu"]

    def loss(self, x: LossInputs) -> "Tensor":
        """E[CE(softmax(z with z_y = −∞), π)], the target detached."""
        from torch.nn.functional import cross_entropy

        without = x.logits.detach().scatter(-1, x.labels.unsqueeze(-1), float("-inf"))
        return cross_entropy(x.logits, without.softmax(-1))
