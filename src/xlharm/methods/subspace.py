"""Subspace projection."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import Positive
from xlharm.config.unlearning import VectorRows
from xlharm.methods.base import EditMethod

if TYPE_CHECKING:
    from torch import Tensor

    from xlharm.model.arithmetic import Edited
    from xlharm.model.lora import Layout


class Subspace(EditMethod):
    """Project the forget subspace out of the adapter, kept rows' subspace spared (2408.04140, 2601.06675).

    Attributes:
        dimensions: size of the forget subspace in each layer.
        kept_dimensions: size of the subspace of the retain rows that is spared.
    """

    vectors: ClassVar[tuple[VectorRows, ...]] = ("forget", "retain")
    edit_fields: ClassVar[tuple[str, ...]] = ("objective", "dimensions", "kept_dimensions")

    objective: Literal["subspace"]
    dimensions: Positive = 4
    kept_dimensions: Positive = 4
    retain: Literal["none"] = "none"
    stop: None = None

    def edit(self, parent: "Tensor", vectors: "Sequence[Tensor]", *, layout: "Layout") -> "Edited":
        """ΔW (I − V Vᵀ), V the forget rows' input directions made orthogonal to the retain rows'."""
        from xlharm.model.arithmetic import project_out

        forget, retain = vectors
        return project_out(
            parent, forget, retain, dimensions=self.dimensions, kept_dimensions=self.kept_dimensions, layout=layout
        )
