"""Subspace projection."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import Positive
from xlharm.config.unlearning import VectorRows
from xlharm.methods.base import EditMethod

if TYPE_CHECKING:
    from torch import Tensor

    from xlharm.model.arithmetic import Edited
    from xlharm.model.layout import Layout


class Subspace(EditMethod):
    """Project the subspace of the forget rows out of the adapter, except that of the retain rows.

    See 2408.04140 and 2601.06675, and ``model.arithmetic.project_out``.

    Attributes:
        dimensions: number of dimensions of the forget rows' subspace in each layer.
        kept_dimensions: number of dimensions of the retain rows' subspace in each layer, which is kept.
    """

    vectors: ClassVar[tuple[VectorRows, ...]] = ("forget", "retain")
    edit_fields: ClassVar[tuple[str, ...]] = ("objective", "dimensions", "kept_dimensions")

    objective: Literal["subspace"]
    dimensions: Positive = 4
    kept_dimensions: Positive = 4
    retain: Literal["none"] = "none"
    stop: None = None

    def edit(self, parent: "Tensor", vectors: "Sequence[Tensor]", *, layout: "Layout") -> "Edited":
        """ΔW (I − V Vᵀ), V: the forget rows' input directions, made orthogonal to those of the retain rows."""
        from xlharm.model.arithmetic import project_out

        forget, retain = vectors
        return project_out(
            parent, forget, retain, dimensions=self.dimensions, kept_dimensions=self.kept_dimensions, layout=layout
        )
