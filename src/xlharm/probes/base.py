"""What all probes have: the stages they plan; a change of how models answer, or a look inside a model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field

from xlharm.config.training import Language, Strict, key_settings

if TYPE_CHECKING:
    import pyarrow as pa

    from xlharm.evaluate.asking import Answer, Asking
    from xlharm.evaluate.inspecting import Inspecting
    from xlharm.plan.cells import CellBuilder
    from xlharm.plan.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The stages of a probe in one cell.

    Attributes:
        evaluations: its evaluate or inspect stage for each query language; one that reads several languages together
            stands under all of them, joined by `+`.
        models: the training stages that these need beside the cell's own, parents first.
    """

    evaluations: dict[str, Stage]
    models: tuple[Stage, ...] = ()


class Probe(Strict):
    """Settings of a probe. A subclass names itself: ``kind: Literal["relearn"]``.

    Attributes:
        kinds: kinds of bases that it is for; a grid on another kind is refused.
        dtypes: precisions of the base that it is for.
        queries: the languages it is asked in; all of the grid's by default.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"causal", "encoder-decoder", "masked"})
    dtypes: ClassVar[frozenset[str]] = frozenset({"float32", "bfloat16", "float8"})

    queries: Annotated[tuple[Language, ...], Field(min_length=1)] | None = None

    def parts(self) -> Mapping[str, Self]:
        """Return the probes that it stands for, by what follows its name: several if it has several amounts."""
        return {"": self}

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


class _OnModel(Probe):
    """A probe of the cell's model itself."""

    def settings(self) -> dict[str, Any]:
        """Return what enters the key of its stages; their query languages stand beside it."""
        return {name: value for name, value in key_settings(self).items() if name != "queries"}


class AnswerProbe(_OnModel):
    """A probe that changes how the cell's model answers or what it is asked."""

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

    def plan(self, builder: CellBuilder, *, name: str, model: Stage, before: Stage | None) -> Planned | None:  # noqa: ARG002 - for probes that need them
        """Plan an evaluation of the cell's model in each query language."""
        queries = self.queries or builder.spec.languages
        return Planned(evaluations={q: builder.evaluation(model, query=q, probe=self) for q in queries})


class Inspection(_OnModel):
    """A probe that looks inside the cell's model; its stages store a table of their own.

    Attributes:
        asks: whether it lets models answer.
        limited: whether the grid's largest number of questions counts for it.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"causal"})
    asks: ClassVar[bool] = False
    limited: ClassVar[bool] = True

    @abstractmethod
    def table(self, inspecting: Inspecting) -> pa.Table:
        """Look inside one model on a worker.

        Raises:
            UserError: the probe does not fit the base, the corpus or the worker.
        """

    def models(self, *, layers: int) -> int:  # noqa: ARG002 - for probes that need it
        """Return about how many forms of the model read each question, for estimates of time.

        Args:
            layers: number of decoder layers.
        """
        return 1

    def plan(self, builder: CellBuilder, *, name: str, model: Stage, before: Stage | None) -> Planned | None:  # noqa: ARG002 - for probes that need them
        """Plan an inspection of the cell's model in each query language."""
        queries = self.queries or builder.spec.languages
        return Planned(evaluations={q: builder.inspection(model, languages=(q,), probe=self) for q in queries})


def reading(planned: Planned, *others: Stage) -> Planned:
    """Return a plan whose evaluations read further models beside the cell's own, as inputs 1 and on."""
    keys = tuple(stage.key for stage in others)
    evaluations = {q: replace(s, inputs=(*s.inputs, *keys)) for q, s in planned.evaluations.items()}
    return replace(planned, evaluations=evaluations)
