"""Ablation: switch parts of the adapter off, one at a time, then ask as usual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from xlharm.config.training import Positive
from xlharm.probes.base import Inspection

if TYPE_CHECKING:
    import pyarrow as pa

    from xlharm.evaluate.inspecting import Inspecting

WHOLE = ("none", "all")
"""Values of ``by`` for the model as it is, and without its whole adapter."""


class Ablate(Inspection):
    """Ask the cell's model as it is, without its adapter, and without each part of its adapter.

    The variants are slots of one pack: they answer together. The adapter holds what contamination, SFT and unlearning
    have added, so a part that is switched off takes the part of each of them away.

    Attributes:
        by: the divisions whose parts are switched off: decoder layers; modules within them (attention, MLP); target
            modules; singular components of each linear layer's ΔW.
        components: how many components, beginning with the largest.
    """

    asks: ClassVar[bool] = True

    kind: Literal["ablate"]
    by: Annotated[tuple[Literal["layer", "module", "target", "component"], ...], Field(min_length=1)] = (
        "layer",
        "module",
    )
    components: Positive = 8

    def models(self, *, layers: int) -> int:
        """Return about how many variants there are."""
        sizes = {"layer": layers, "module": 2, "target": 7, "component": self.components}
        return 2 + sum(sizes[division] for division in dict.fromkeys(self.by))

    def table(self, inspecting: Inspecting) -> pa.Table:
        """Return a row for each variant and question: (by, part, item, measure, hit, degenerate)."""
        import pyarrow as pa

        from xlharm.model.parts import parts_of, stacks

        layout = inspecting.stacked.layout
        divisions = dict.fromkeys(self.by)
        parts = [part for by in divisions for part in parts_of(layout, by, components=self.components)]
        names = [(whole, "") for whole in WHOLE] + [(part.by, part.name) for part in parts]
        asking = inspecting.asking()
        rows: list[dict[str, Any]] = []
        for stack in stacks(inspecting.adapters[0], parts, layout=layout, size=inspecting.slots):
            for answers in asking.generate(stack):
                by, part = names.pop(0)
                rows += ({"by": by, "part": part, **row} for row in inspecting.verdicts(asking, answers))
        schema = pa.schema(
            [
                *((name, pa.string()) for name in ("by", "part", "item", "measure")),
                *((name, pa.bool_()) for name in ("hit", "degenerate")),
            ]
        )
        return pa.Table.from_pylist(rows, schema=schema)
