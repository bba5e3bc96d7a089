"""Retain terms. They keep the model close to the retain rows' text, the reference model, or its hidden states."""

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

from xlharm.methods.inputs import LossInputs, Need, Unit

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ToText:
    """Mean negative log-likelihood of the target tokens, in nats. It is also the loss of plain fine-tuning."""

    unit: ClassVar[Unit] = "token"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def loss(self, x: LossInputs) -> "Tensor":
        """−mean log π."""
        return -x.logp.mean()


@dataclass(frozen=True)
class ToReference:
    """Mean KL(reference ‖ model) over target tokens, in nats (the KL term of 2401.06121).

    Where the model equals the reference model, the loss and its gradient are zero.
    """

    unit: ClassVar[Unit] = "token"
    needs: ClassVar[frozenset[Need]] = frozenset({"logits", "reference_logits"})

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean Σ π_ref (log π_ref − log π)."""
        return kl(x.logits, x.reference_logits).mean()


@dataclass(frozen=True)
class ToHidden:
    """E‖h − h_ref‖²: RMU's retain term (2403.03218). At the reference model, loss and gradient are zero."""

    unit: ClassVar[Unit] = "token"
    needs: ClassVar[frozenset[Need]] = frozenset({"hidden", "reference_hidden"})

    def loss(self, x: LossInputs) -> "Tensor":
        """Mean ‖h − h_ref‖²."""
        return (x.hidden - x.reference_hidden).square().sum(-1).mean()


@dataclass(frozen=True)
class ToTeacher:
    """E[p T² KL(teacher_T ‖ model_T) + (1 − p) NLL], p: the teacher's probability of the true token (2406.12354).

    The teacher is the reference model. Where it knows a language well, the model is kept close to the teacher;
    elsewhere it learns from the text. With p = 1 the loss is pure distillation.

    Attributes:
        temperature: T, above 0 (published: 1).
        by_row: whether the distillation is summed over each row's tokens and averaged over rows, as in the paper's
            code; else it is averaged over tokens. The NLL is averaged over tokens in both cases.
    """

    unit: ClassVar[Unit] = "token"
    needs: ClassVar[frozenset[Need]] = frozenset({"logits", "reference_logits"})
    temperature: float = 1.0
    by_row: bool = False

    def loss(self, x: LossInputs) -> "Tensor":
        """Return the mixture with p from the teacher."""
        index = x.labels.unsqueeze(-1)
        return self.mixture(x, confidence=x.reference_logits.softmax(-1).gather(-1, index).squeeze(-1))

    def mixture(self, x: LossInputs, *, confidence: "Tensor") -> "Tensor":
        """Return the mixture with p = ``confidence`` [tokens]."""
        from torch.nn.functional import cross_entropy

        t = self.temperature
        distilled = t**2 * kl(x.logits / t, x.reference_logits / t)
        if self.by_row:  # the mean over tokens that is returned, times the tokens of a row
            distilled = distilled * fmean(x.lengths_of_batch)
        return (confidence * distilled + (1 - confidence) * cross_entropy(x.logits, x.labels, reduction="none")).mean()


Retain = ToText | ToReference | ToHidden | ToTeacher


def kl(logits: "Tensor", reference_logits: "Tensor") -> "Tensor":
    """Return KL(reference ‖ model), in nats, of each position, [tokens], from logits [tokens, vocabulary]."""
    reference_logp = reference_logits.log_softmax(-1)
    return (reference_logp.exp() * (reference_logp - logits.log_softmax(-1))).sum(-1)
