"""Relearning: train again on a few forget items, then evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from xlharm.config.training import LanguageOrSource, Positive, Rate, Training, key_settings
from xlharm.probes.base import Planned, Probe

if TYPE_CHECKING:
    from xlharm.plan.cells import CellBuilder
    from xlharm.plan.stage import Stage


class Relearn(Training, Probe):
    """Train again on a few forget items, in the same language or another, then evaluate.

    A clean control that learns as much from the same items had nothing to recover: compare with it.

    Attributes:
        languages: the items' languages; `source` is the contaminating one.
        items: how many of the corpus's fake items; several numbers make a curve.
        forget: their articles, or their question-answer pairs.
    """

    kind: Literal["relearn"]
    languages: Annotated[tuple[LanguageOrSource, ...], Field(min_length=1)] = ("source",)
    items: Positive | Annotated[tuple[Positive, ...], Field(min_length=1)] = 10
    forget: Literal["articles", "qa"] = "articles"
    steps: Positive = 10
    learning_rate: Rate = 2e-4

    def parts(self) -> Mapping[str, Self]:
        """Return a probe for each number of items: of `again` with 1 and 5 items, `again:1` and `again:5`."""
        if isinstance(self.items, int):
            return {"": self}
        return {f":{n}": type(self).model_validate({**self.model_dump(), "items": n}) for n in self.items}

    def plan(self, builder: CellBuilder, *, name: str, model: Stage, before: Stage | None) -> Planned | None:  # noqa: ARG002 - controls relearn too
        """Plan the relearned model and its evaluations; None when the grid names no language of forget items."""
        languages = builder.resolved(self.languages)
        languages = languages or builder.contaminating[:1]  # a clean control learns one of the grid's languages
        if not languages:
            return None
        others = {"kind", "queries", "languages", "items"}
        training = {field: value for field, value in key_settings(self).items() if field not in others}
        relearned = builder.stage(
            "relearn",
            parent=model,
            reads=languages,
            label=f"relearn ({name}) after {model.label}",
            training=training,
            languages=list(languages),
            items=self.items,
            seed=builder.seed,
        )
        queries = self.queries or builder.spec.languages
        evaluations = {q: builder.evaluation(relearned, query=q) for q in queries}
        return Planned(evaluations=evaluations, models=(relearned,))
