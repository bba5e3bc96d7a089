"""Judges: who says whether an answer states a detail, beside matching, which always stands."""

from typing import Annotated, Any, Literal

from pydantic import Field

from xlharm.config.training import Positive, Strict

PROMPT_VERSION = 1
"""Version of the judges' prompts (evaluate/judges.py); part of a stage's key."""

_Env = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Measures = Annotated[tuple[Literal["of", "qr"], ...], Field(min_length=1)]


class _Judge(Strict):
    """What all judges have: the measures they judge."""

    measures: Measures = ("of", "qr")


class Chat(_Judge):
    """An OpenAI-compatible endpoint; ``translate`` puts question and answer into English before they are judged.

    Attributes:
        url: base address. It and everything below ``max_tokens`` may change without new verdicts.
        model: the endpoint's name of the model, with its version.
        api_key_env: NAME of the environment variable with the key.
    """

    kind: Literal["chat"]
    url: Annotated[str, Field(pattern=r"^https?://")]
    model: str
    translate: bool = False
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    max_tokens: Positive = 200
    api_key_env: _Env | None = None
    timeout: Annotated[float, Field(gt=0)] = 60.0
    attempts: Positive = 6
    max_in_flight: Positive = 8
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    price_in: Annotated[float, Field(ge=0)] | None = None
    price_out: Annotated[float, Field(ge=0)] | None = None


class Local(_Judge):
    """A causal language model on the workers, which answers yes or no by likelihood."""

    kind: Literal["local"]
    base: str
    revision: str | None = None


class Nli(_Judge):
    """A natural-language-inference model on the workers: does the answer entail the statement?"""

    kind: Literal["nli"]
    base: str
    revision: str | None = None
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5


Judge = Annotated[Chat | Local | Nli, Field(discriminator="kind")]
CONNECTION = frozenset(
    {"url", "api_key_env", "timeout", "attempts", "max_in_flight", "requests_per_minute", "price_in", "price_out"}
)
"""Fields of a chat judge that do not change its verdicts, and so are not in a stage's key."""
FOR_NOW = frozenset({"unavailable", "rejected"})
"""Reasons of missing verdicts that may be gone another day: `--retry-failed` asks again."""


def deciding(judge: Judge) -> dict[str, Any]:
    """Return the settings that decide a judge's verdicts."""
    return {name: value for name, value in judge.model_dump(mode="json").items() if name not in CONNECTION}
