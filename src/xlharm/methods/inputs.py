"""The inputs of a loss, and the fields of them that a loss may need."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Need = Literal["logits", "hidden", "reference_logp", "reference_logits", "reference_hidden"]
Unit = Literal["token", "row"]


@dataclass(frozen=True, kw_only=True)
class LossInputs:
    """The model's outputs for one trial's forget rows or retain rows, as inputs of its loss.

    The ``optional_`` fields are None unless the loss names them in its ``needs``. The property of the same name without
    ``optional_`` returns the tensor, and raises AssertionError if it is None.

    Attributes:
        logp: log-probability of every target token under the model, [tokens], in nats.
        labels: the target tokens, [tokens].
        owner: index of each token's row, [tokens].
        rows: number of rows.
        seed: the trial's seed.
        batch_lengths: number of target tokens of every row of the whole batch, of which these rows may be a part; empty
            if these rows are all. A loss that is not simply a mean over its rows or tokens needs it.
        preferred: for methods with paired rows, the inputs of the preferred answers, row by row; else None.
    """

    logp: "Tensor"
    labels: "Tensor"
    owner: "Tensor"
    rows: int
    seed: int = 0
    batch_lengths: tuple[int, ...] = ()
    preferred: "LossInputs | None" = None
    optional_reference_logp: "Tensor | None" = None
    optional_logits: "Tensor | None" = None
    optional_reference_logits: "Tensor | None" = None
    optional_hidden: "Tensor | None" = None
    optional_reference_hidden: "Tensor | None" = None

    @property
    def reference_logp(self) -> "Tensor":
        """Log-probability of every target token under the reference model, [tokens]."""
        return _required(self.optional_reference_logp, "reference_logp")

    @property
    def logits(self) -> "Tensor":
        """Logits of the model, [tokens, vocabulary], float32."""
        return _required(self.optional_logits, "logits")

    @property
    def reference_logits(self) -> "Tensor":
        """Logits of the reference model, [tokens, vocabulary], float32."""
        return _required(self.optional_reference_logits, "reference_logits")

    @property
    def hidden(self) -> "Tensor":
        """Hidden states of the model after the method's layer, [tokens, width], float32."""
        return _required(self.optional_hidden, "hidden")

    @property
    def reference_hidden(self) -> "Tensor":
        """Hidden states of the reference model, [tokens, width], float32."""
        return _required(self.optional_reference_hidden, "reference_hidden")

    @property
    def row_logp(self) -> "Tensor":
        """Sum of the log-probabilities of each row's target tokens under the model, [rows]."""
        return self.by_row(self.logp)

    @property
    def reference_row_logp(self) -> "Tensor":
        """Sum of the log-probabilities of each row's target tokens under the reference model, [rows]."""
        return self.by_row(self.reference_logp)

    @property
    def row_lengths(self) -> "Tensor":
        """Number of target tokens of every row, [rows]."""
        return self.by_row(self.logp.new_ones(len(self.logp)))

    @property
    def places(self) -> "Tensor":
        """Each token's number within the targets of its row, from 0, [tokens]."""
        import torch

        lengths = self.row_lengths.long()
        starts = lengths.cumsum(0) - lengths
        return torch.arange(len(self.owner), device=self.owner.device) - starts[self.owner]

    @property
    def lengths_of_batch(self) -> tuple[int, ...]:
        """Number of target tokens of every row of the whole batch."""
        return self.batch_lengths or tuple(int(length) for length in self.row_lengths.tolist())

    @property
    def preferred_rows(self) -> "LossInputs":
        """The inputs of the preferred answers, row by row, for a method with paired rows."""
        assert self.preferred is not None, "the method's `rows` are not paired"
        return self.preferred

    def by_row(self, values: "Tensor") -> "Tensor":
        """Sum token values over each row, [rows]."""
        return values.new_zeros(self.rows).index_add(0, self.owner, values)


def _required(value: "Tensor | None", name: str) -> "Tensor":
    assert value is not None, f"the loss reads {name}: add it to `needs`"
    return value


class Objective(Protocol):
    """A loss on some rows, and the inputs that it needs. Methods and retain terms are objectives."""

    @property
    def unit(self) -> Unit:
        """What the loss is a mean over, tokens or rows."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """Fields of ``LossInputs`` that the loss reads, beside log-probabilities."""
        ...

    def loss(self, x: LossInputs) -> "Tensor":
        """Return the loss of some rows, a scalar."""
        ...
