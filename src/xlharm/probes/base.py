"""What all probes have: the stages they plan, and for some of them a change of how models answer."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from xlharm.config.training import Language, Strict, key_settings

if TYPE_CHECKING:
    from xlharm.evaluate.asking import Answer, Asking
    from xlharm.plan.cells import CellBuilder
    from xlharm.plan.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The stages of a probe in one cell.

    Attributes:
        evaluations: its evaluate stage for each query language.
        models: the training stages that these need beside the cell's own, parents first.
    """

    evaluations: dict[str, Stage]
    models: tuple[Stage, ...] = ()


class Probe(Strict):
    """Settings of a probe. A subclass names itself: ``kind: Literal["relearn"]``.

    Attributes:
        kinds: kinds of bases that it is for; a grid on another kind is refused.
        queries: the languages it is asked in; all of the grid's by default.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"causal", "encoder-decoder", "masked"})

    queries: Annotated[tuple[Language, ...], Field(min_length=1)] | None = None

    @abstractmethod
    def plan(self, builder: CellBuilder, *, name: str, model: Stage, before: Stage | None) -> Planned | None:
        """Plan the probe in one cell.

        Args:
            builder: makes the cell's stages.
            name: the probe's name in the grid.
            model: the stage whose adapter is the cell's model.
            before: the stage before unlearning; None in a cell that unlearns nothing.

        Returns:
            The stages; None where the probe means nothing.
        """


class AnswerProbe(Probe):
    """A probe of the cell's model itself, which changes how it answers or what it is asked."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Languages of the corpus that it depends on beside the query language."""
        return ()

    @property
    def repeats(self) -> int:
        """How often each question is asked, for estimates of time."""
        return 1

    @abstractmethod
    def answers(self, asking: Asking) -> tuple[Asking, list[list[Answer]]]:
        """Let a pack of models answer on a worker.

        Returns:
            What was asked, and the answers [K][question]; those of a slot that is not active may be missing.

        Raises:
            UserError: the probe does not fit the base, the corpus or the worker.
        """

    def settings(self) -> dict[str, Any]:
        """Return what enters the key of its stages, each of which is of one query language."""
        return {name: value for name, value in key_settings(self).items() if name != "queries"}

    def plan(self, builder: CellBuilder, *, name: str, model: Stage, before: Stage | None) -> Planned | None:  # noqa: ARG002 - for probes that need them
        """Plan an evaluation of the cell's model in each query language."""
        queries = self.queries or builder.spec.languages
        return Planned(evaluations={q: builder.evaluation(model, query=q, probe=self) for q in queries})
