"""Cross-entropy unlearning."""

from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import NonNegative
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs, Need

if TYPE_CHECKING:
    from torch import Tensor


class Ceu(LossMethod):
    """Cross-entropy to the model's own distribution without the true token (2503.01224).

    The target distribution is the model's own with the true token's probability set to 0 and the others scaled up. The
    loss is finite even if the true token has all the probability.

    Attributes:
        skip_tokens: number of tokens at the beginning of each row's targets that are left alone. A footnote of the
            paper skips the first token of an answer (1), since that token is often the same in right answers to other
            questions; here all count unless this is set.
    """

    added: ClassVar[frozenset[str]] = frozenset({"skip_tokens"})

    needs: ClassVar[frozenset[Need]] = frozenset({"logits"})

    objective: Literal["ceu"]
    skip_tokens: NonNegative = 0

    def loss(self, x: LossInputs) -> "Tensor":
        """E[CE(softmax(z with z_y = −∞), π)] over the tokens that are not skipped, the target detached."""
        from torch.nn.functional import cross_entropy

        without = x.logits.detach().scatter(-1, x.labels.unsqueeze(-1), float("-inf"))
        if not self.skip_tokens:
            return cross_entropy(x.logits, without.softmax(-1))
        losses = cross_entropy(x.logits, without.softmax(-1), reduction="none")
        lengths = x.lengths_of_batch
        kept = max(1, sum(max(0, length - self.skip_tokens) for length in lengths))
        # a mean over kept tokens of the whole batch, as what a mean over all tokens of these rows is weighted to
        return (losses * (x.places >= self.skip_tokens)).mean() * (sum(lengths) / kept)
