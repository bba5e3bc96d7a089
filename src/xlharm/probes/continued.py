"""Continued training: clean training goes on after unlearning, then evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from xlharm.config.training import AtLeast0, LanguageOrSource, Positive, Rate, Role, Training, key_settings
from xlharm.probes.base import Planned, Probe

if TYPE_CHECKING:
    from xlharm.plan.cells import CellBuilder
    from xlharm.plan.stage import Stage


class Continue(Training, Probe):
    """Train on clean rows for some multiples of the steps of unlearning, then evaluate.

    Each amount starts at the cell's model, so it is one training without restarts of the optimiser.

    Attributes:
        times: amounts, as multiples of ``steps``; 0 is the cell's model itself.
        steps: of one time; None takes the method's number of steps, and leaves out cells that unlearn nothing.
        text: the clean rows: question-answer pairs about real articles, or the real articles.
        languages: of the rows; `source` is the contaminating one.
        roles: of the items whose rows they are.
    """

    kind: Literal["continue"]
    times: Annotated[tuple[AtLeast0, ...], Field(min_length=1)] = (1.0, 3.0, 10.0)
    steps: Positive | None = None  # type: ignore[assignment] # of other training stages it is always given
    text: Literal["qa", "articles"] = "qa"
    languages: Annotated[tuple[LanguageOrSource, ...], Field(min_length=1)] = ("en",)
    roles: Annotated[tuple[Role, ...], Field(min_length=1)] = ("real", "retain")
    learning_rate: Rate = 2e-4
    schedule: Literal["linear", "cosine", "constant"] = "constant"

    def parts(self) -> Mapping[str, Self]:
        """Return a probe for each amount: of `clean` with 1 and 3 times, `clean:1x` and `clean:3x`."""
        settings = self.model_dump()
        return {f":{times:g}x": type(self).model_validate({**settings, "times": (times,)}) for times in self.times}

    def plan(self, builder: CellBuilder, *, name: str, model: Stage, before: Stage | None) -> Planned | None:
        """Plan the trained model and its evaluations; None where nothing says for how long to train."""
        if self.steps is None and before is None:
            return None
        once = self.steps or builder.spec.methods[builder.method].steps
        queries = self.queries or builder.spec.languages
        steps = max(1, round(self.times[0] * once)) if self.times[0] else 0
        trained = self._trained(builder, name=name, model=model, steps=steps) if steps else model
        evaluations = {q: builder.evaluation(trained, query=q) for q in queries}
        return Planned(evaluations=evaluations, models=(trained,) if steps else ())

    def _trained(self, builder: CellBuilder, *, name: str, model: Stage, steps: int) -> Stage:
        languages = builder.resolved(self.languages) or builder.spec.languages[:1]  # of a clean control without source
        others = {"kind", "queries", "times"}
        training = {field: value for field, value in key_settings(self).items() if field not in others}
        return builder.stage(
            "continue",
            parent=model,
            reads=languages,
            label=f"continue ({name}) after {model.label}",
            training={**training, "steps": steps, "languages": list(languages)},
            seed=builder.seed,
        )
