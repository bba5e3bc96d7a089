"""The settings that all training stages share, and the types of fields in grid files."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="ISO 639 code")]
LanguageOrSource = Annotated[
    str, Field(pattern=r"^(source|[a-z]{2,3}(-[A-Za-z0-9]{2,8})*)$", description="a language, or `source`")
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
Role = Literal["fake", "real", "retain"]
MOST = 10**9  # of anything that a grid counts: products of such numbers still are numbers
Positive = Annotated[int, Field(ge=1, le=MOST)]
NonNegative = Annotated[int, Field(ge=0, le=MOST)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Above0 = Annotated[float, Field(gt=0)]
AtLeast0 = Annotated[float, Field(ge=0)]


def _takes(annotation: Any, kinds: set[type]) -> bool:
    """Whether one of these types is in an annotation, at any depth."""
    return annotation in kinds or any(_takes(part, kinds) for part in get_args(annotation))


def _is_number(model: "type[Strict]", name: str) -> bool:
    """Whether a field takes numbers and no truth values."""
    annotation = model.model_fields[name].annotation
    return _takes(annotation, {int, float}) and not _takes(annotation, {bool})


def _has_bool(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_bool, value.values()))
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_has_bool, value)))


class Strict(BaseModel):
    """Base class of settings: frozen, without unknown fields, infinities or NaN, and without `true` for a number.

    Attributes:
        added: fields that a later version added. Keys leave them out at their defaults, so that earlier results stay
            valid.
        source_digest: digest of the source of a plug-in's class, which is part of keys; None for xlharm's own classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    added: ClassVar[frozenset[str]] = frozenset()
    source_digest: ClassVar[str | None] = None

    @cached_property
    def settings_in_keys(self) -> dict[str, Any]:
        """What ``key_settings`` copies: a plan asks for it once a stage."""
        return _settings_in_keys(self)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if _has_bool(value) and _is_number(cls, str(info.field_name)):
            raise PydanticCustomError("bool_for_a_number", "Expected a number")
        return value


def key_settings(model: Strict) -> dict[str, Any]:
    """Return the settings of an object as JSON values, as they are in a stage's key; see ``Strict.added``."""
    return dict(model.settings_in_keys)


def _settings_in_keys(model: Strict) -> dict[str, Any]:
    kind = type(model)
    settings: dict[str, Any] = model.model_dump(mode="json")
    added = {name for parent in kind.__mro__ for name in vars(parent).get("added", ())}
    for name, field in kind.model_fields.items():
        value = getattr(model, name)
        if name in added and value == field.get_default(call_default_factory=True):
            del settings[name]
        elif isinstance(value, Strict):
            settings[name] = key_settings(value)
    return settings if kind.source_digest is None else {**settings, "plugin": kind.source_digest}


class Training(Strict):
    """The settings of every training stage: steps of AdamW on batches of rows.

    Attributes:
        steps: number of steps.
        batch_size: number of target rows in a step.
        learning_rate: highest learning rate.
        warmup_steps: steps in which the learning rate rises linearly.
        warmup_from_zero: whether the first of these steps has the learning rate 0, as in transformers' schedules; else
            it has a ``warmup_steps``-th of the highest, so that no step is idle.
        schedule: of the learning rate after warm-up; linear and cosine fall to 0.
        weight_decay: of AdamW.
        clip: largest norm of an adapter's gradient.
    """

    added: ClassVar[frozenset[str]] = frozenset({"warmup_from_zero"})
    steps: Positive
    batch_size: Positive = 16
    learning_rate: Rate
    warmup_steps: NonNegative = 0
    warmup_from_zero: bool = False
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: AtLeast0 = 0.0
    clip: Above0 = 1.0
