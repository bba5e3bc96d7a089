"""Classes for the settings of stages: they check the JSON of a stage's key when a worker reads it.

``plan/cells.py`` and the probes write these settings into the ``spec`` of stages.
"""

from typing import Annotated, Literal, TypeAlias, TypeVar, assert_never

from pydantic import BeforeValidator, Field, ValidationError

from xlharm.config.grid import Contaminate, Dtype, Lora, Prompt, Sft
from xlharm.config.matching import Variant
from xlharm.config.training import NonNegative, Positive, Role, Strict, Training
from xlharm.config.unlearning import FineTune, Unlearning, VectorRows
from xlharm.errors import StageError
from xlharm.methods import METHODS
from xlharm.plan.families import Path
from xlharm.plan.stage import Stage
from xlharm.probes import PROBES
from xlharm.probes.base import AnswerProbe, Inspection

_Method = Annotated[Unlearning, BeforeValidator(METHODS.restore)]
_Probe = Annotated[AnswerProbe, BeforeValidator(PROBES.restore)]
_Inspection = Annotated[Inspection, BeforeValidator(PROBES.restore)]


class _Stage(Strict):
    """The settings that all stages on the base share."""

    dtype: Dtype
    path: Path = "fast"
    holdout: NonNegative = 0
    lora: Lora
    prompt: Prompt


class ContaminateStage(_Stage):
    """Fine-tuning on real and fake articles; ``fake_language`` is None for a clean control."""

    fake_language: str | None
    training: Contaminate
    seed: NonNegative


class SftStage(_Stage):
    """Fine-tuning on question-answer pairs."""

    training: Sft
    seed: NonNegative


class UnlearnStage(_Stage):
    """Unlearning by a method that trains with a loss."""

    training: _Method
    languages_unlearned: tuple[str, ...]
    seed: NonNegative


class FineTuneStage(_Stage):
    """Fine-tuning on forget or retain rows, for a training-free method."""

    training: FineTune
    rows: VectorRows
    languages_unlearned: tuple[str, ...]
    seed: NonNegative


class RelearnTraining(Training):
    """Training on the forget set again: on its articles, or on its question-answer pairs."""

    forget: Literal["articles", "qa"]


class RelearnStage(_Stage):
    """Training again on a few items of the forget set."""

    training: RelearnTraining
    languages: tuple[str, ...]
    items: Positive
    seed: NonNegative


class ContinueTraining(Training):
    """Clean training: on question-answer pairs or on real articles."""

    text: Literal["qa", "articles"]
    languages: tuple[str, ...]
    roles: tuple[Role, ...]


class ContinueStage(_Stage):
    """Clean training of a model that has unlearned."""

    training: ContinueTraining
    seed: NonNegative


class EvaluateStage(_Stage):
    """Answers to the questions of one query language, changed by a probe if there is one.

    Attributes:
        matching: variants of spelling that count as equal; None takes the language's default.
    """

    query: str
    matching_version: int
    matching: tuple[Variant, ...] | None = None
    max_new_tokens: Positive
    questions: Positive
    probe: _Probe | None = None


class InspectStage(_Stage):
    """A look inside a model by a probe.

    Attributes:
        languages: of the questions that the probe reads.
        questions: largest number of questions for each measure; None for all.
        max_new_tokens: largest number of tokens of an answer; None for a probe that lets no model answer.
        matching_version: of the matching of answers; None alike.
        matching: as in ``EvaluateStage``.
    """

    languages: Annotated[tuple[str, ...], Field(min_length=1)]
    questions: Positive | None = None
    max_new_tokens: Positive | None = None
    matching_version: int | None = None
    matching: tuple[Variant, ...] | None = None
    probe: _Inspection


class EditStage(_Stage):
    """Arithmetic on finished adapters."""

    edit: _Method


Settings = TypeVar("Settings", bound=Strict)
TrainingStage: TypeAlias = ContaminateStage | SftStage | UnlearnStage | FineTuneStage | RelearnStage | ContinueStage


def training_of(stage: Stage) -> TrainingStage | None:  # noqa: PLR0911 - one for each kind
    """Return the settings of a stage that trains; None for one that does not.

    Raises:
        StageError: this version does not write such settings.
    """
    match stage.kind:
        case "contaminate":
            return read(ContaminateStage, stage)
        case "sft":
            return read(SftStage, stage)
        case "unlearn":
            return read(UnlearnStage, stage)
        case "finetune":
            return read(FineTuneStage, stage)
        case "relearn":
            return read(RelearnStage, stage)
        case "continue":
            return read(ContinueStage, stage)
        case "edit" | "evaluate" | "inspect" | "score" | "judge":
            return None
        case _:
            assert_never(stage.kind)


def read(settings: type[Settings], stage: Stage) -> Settings:
    """Return a stage's settings as an object of a class.

    Raises:
        StageError: this version does not write such settings.
    """
    try:
        return settings.model_validate(stage.spec)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StageError(f"{stage.label}: its settings cannot be read: {where}: {first['msg']}") from None
