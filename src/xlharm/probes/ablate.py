"""Ablation: switch parts of the adapter off, one at a time, then ask as usual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from xlharm.config.training import Positive
from xlharm.probes.base import Inspection

if TYPE_CHECKING:
    import pyarrow as pa

    from xlharm.evaluate.asking import Asking
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
        asking = _asking(inspecting)
        inspecting.check(max(map(len, asking.prompts), default=0) + inspecting.max_new_tokens)
        rows: list[dict[str, Any]] = []
        for stack in stacks(inspecting.adapters[0], parts, layout=layout, size=inspecting.slots):
            for answers in asking.generate(stack):
                by, part = names.pop(0)
                rows += ({"by": by, "part": part, **row} for row in _verdicts(inspecting, asking, answers))
        schema = pa.schema(
            [
                *((name, pa.string()) for name in ("by", "part", "item", "measure")),
                *((name, pa.bool_()) for name in ("hit", "degenerate")),
            ]
        )
        return pa.Table.from_pylist(rows, schema=schema)


def _asking(inspecting: Inspecting) -> Asking:
    from xlharm.evaluate.asking import Asking

    (language,) = inspecting.languages
    model = inspecting.adapters[0][None]
    return Asking(
        stacked=inspecting.stacked,
        tokenizer=inspecting.tokenizer,
        prompt=inspecting.prompt,
        language=language,
        items=inspecting.load(language),
        limit=inspecting.limit,
        max_new_tokens=inspecting.max_new_tokens,
        rows=inspecting.rows,
        adapters=model,
        active=(True,),
        parents=lambda number: inspecting.adapters[number][None],
    )


def _verdicts(inspecting: Inspecting, asking: Asking, answers: list[list[int]]) -> list[dict[str, Any]]:
    from xlharm.corpus.match import contains
    from xlharm.evaluate.answers import degenerate
    from xlharm.evaluate.generate import text_of

    rows = []
    for (item, measure, _, forms), ids in zip(asking.questions, answers, strict=True):
        text = text_of(ids, inspecting.tokenizer, asking.template)
        hit = contains(text, forms, language=asking.language, variants=inspecting.matching)
        rows.append({"item": item.id, "measure": measure, "hit": hit, "degenerate": degenerate(text)})
    return rows
