"""Base classes of methods: a method has a loss, or edits finished adapters."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, assert_never

from xlharm.config.unlearning import Unlearning
from xlharm.methods.inputs import Need, Unit
from xlharm.methods.retain import Retain, ToHidden, ToReference, ToTeacher, ToText

if TYPE_CHECKING:
    from torch import Tensor

    from xlharm.methods.inputs import LossInputs
    from xlharm.model.arithmetic import Edited
    from xlharm.model.layout import Layout


class LossMethod(Unlearning, ABC):
    """A method that trains on a loss.

    Attributes:
        unit: what the loss is a mean over, tokens or rows. Micro-batches and ranks are weighted by their share of it.
        needs: fields of ``LossInputs`` that the loss reads, beside log-probabilities.
    """

    unit: ClassVar[Unit] = "token"
    needs: ClassVar[frozenset[Need]] = frozenset()

    @abstractmethod
    def loss(self, x: "LossInputs") -> "Tensor":
        """Return the loss of some rows, a scalar: a mean over tokens or rows, as ``unit`` says."""

    def retain_term(self) -> Retain | None:
        """Return the retain term, the loss on the retain rows, or None."""
        match self.retain:
            case "none":
                return None
            case "nll":
                return ToText()
            case "kl":
                return ToReference()
            case "hidden":
                return ToHidden()
            case "lingtea":
                return self.teacher()
            case _:
                assert_never(self.retain)

    def teacher(self) -> ToTeacher:
        """Return the ``lingtea`` retain term."""
        return ToTeacher()

    def next_retain_weight(self, weight: "float | Tensor", loss: "Tensor") -> "float | Tensor":  # noqa: ARG002 - for methods that change it
        """Return the weight of the retain term in the next step; most methods keep it.

        Args:
            weight: in this step; in the first it is ``retain_weight``.
            loss: the retain term's loss in this step, over the whole batch: a scalar.
        """
        return weight

    def hidden_layer(self, depth: int) -> int:
        """Return the decoder layer whose hidden states the terms read, for a base model with ``depth`` layers.

        By default at the depth that RMU's paper uses, layer 7 of 32.
        """
        return round(depth * 7 / 32)


class EditMethod(Unlearning, ABC):
    """A training-free method: arithmetic on adapters that were fine-tuned on the rows that ``vectors`` names."""

    @abstractmethod
    def edit(self, parent: "Tensor", vectors: "Sequence[Tensor]", *, layout: "Layout") -> "Edited":
        """Return the adapter [P] after unlearning.

        Args:
            parent: the adapter before unlearning, [P].
            vectors: the adapters [P] after fine-tuning ``parent``, in the order of the class's ``vectors``.
            layout: how adapters are cut into layers.
        """
