"""Negated task vector."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import AtLeast0
from xlharm.config.unlearning import VectorRows
from xlharm.methods.base import EditMethod

if TYPE_CHECKING:
    from torch import Tensor

    from xlharm.model.arithmetic import Edited
    from xlharm.model.layout import Layout


class TaskVector(EditMethod):
    """Negated task vector (2212.04089): fine-tune on the forget rows, then subtract α times the change.

    Learning rate and steps are those of the fine-tuning. The arithmetic is exact on the adapters' products. Its result
    is cut to the adapter's rank, and the share that is lost is recorded.

    Attributes:
        alpha: factor α of the change that is subtracted.
    """

    vectors: ClassVar[tuple[VectorRows, ...]] = ("forget",)
    edit_fields: ClassVar[tuple[str, ...]] = ("objective", "alpha")

    objective: Literal["task_vector"]
    alpha: AtLeast0 = 1.0
    retain: Literal["none"] = "none"
    stop: None = None

    def edit(self, parent: "Tensor", vectors: "Sequence[Tensor]", *, layout: "Layout") -> "Edited":
        """θ − α (θ_ft − θ), θ: the parent, θ_ft: the parent fine-tuned on the forget rows."""
        from xlharm.model.arithmetic import combine

        (tuned,) = vectors
        return combine([(1 + self.alpha, parent), (-self.alpha, tuned)], parent=parent, layout=layout)
