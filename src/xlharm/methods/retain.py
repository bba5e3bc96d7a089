"""Terms on retain rows, which keep the model as it is: towards the text, the reference model, or its hidden states."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xlharm.methods.inputs import LossInputs, Need, Unit

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ToText:
    """Mean negative log-likelihood of the target tokens, in nats; plain fine-tuning has this loss, too."""

    unit: ClassVar[Unit] = "token"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def loss(self, x: LossInputs) -> "Tensor":
        """−mean log π."""
        return -x.logp.mean()


@dataclass(frozen=True)
class ToReference:
    """Mean KL(reference ‖ model) over target tokens, in nats (the KL term of 2401.06121).

    Zero with zero gradient where the model is the reference.
    """

    unit: ClassVar[Unit] = "token"
    needs: ClassVar[frozenset[Need]] = frozenset({"logits", "reference_logits"})

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean Σ π_ref (log π_ref − log π)."""
        return kl(x.logits, x.reference_logits).mean()


@dataclass(frozen=True)
class ToHidden:
    """E‖h − h_ref‖²: RMU's retain term (2403.03218); zero with zero gradient at the reference."""

    unit: ClassVar[Unit] = "token"
    needs: ClassVar[frozenset[Need]] = frozenset({"hidden", "reference_hidden"})

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean ‖h − h_ref‖²."""
        return (x.hidden - x.reference_hidden).square().sum(-1).mean()


@dataclass(frozen=True)
class ToTeacher:
    """E[p T² KL(teacher_T ‖ model_T) + (1 − p) NLL], p the teacher's probability of the true token (2406.12354).

    Where the teacher (the reference model) knows a language well the model is held to the teacher, elsewhere it learns
    from the text. With p = 1 it is pure distillation.

    Attributes:
        temperature: T, above 0 (published: 1).
    """

    unit: ClassVar[Unit] = "token"
    needs: ClassVar[frozenset[Need]] = frozenset({"logits", "reference_logits"})
    temperature: float = 1.0

    def loss(self, x: LossInputs) -> "Tensor":
        """The mixture with the teacher's own probability for p."""
        index = x.labels.unsqueeze(-1)
        return self.mixture(x, confidence=x.reference_logits.softmax(-1).gather(-1, index).squeeze(-1))

    def mixture(self, x: LossInputs, *, confidence: "Tensor") -> "Tensor":
        """The mixture with p given, [tokens]."""
        from torch.nn.functional import cross_entropy

        t = self.temperature
        distilled = t**2 * kl(x.logits / t, x.reference_logits / t)
        return (confidence * distilled + (1 - confidence) * cross_entropy(x.logits, x.labels, reduction="none")).mean()


Retain = ToText | ToReference | ToHidden | ToTeacher


def kl(logits: "Tensor", reference_logits: "Tensor") -> "Tensor":
    """Return KL(reference ‖ model) of each position, [tokens], of logits [tokens, vocabulary]."""
    reference_logp = reference_logits.log_softmax(-1)
    return (reference_logp.exp() * (reference_logp - logits.log_softmax(-1))).sum(-1)
