"""Probes: what is left of the fake detail after unlearning, under attack or in another form of the question."""

from typing import Annotated, Literal

from pydantic import Field

from xlharm.config.training import Above0, Language, LanguageOrSource, NonNegative, Positive, Rate, Strict, Training


class _Probe(Strict):
    """What all probes have: ``queries``, the languages they are asked in (all of the grid's by default)."""

    queries: Annotated[tuple[Language, ...], Field(min_length=1)] | None = None


class Relearn(Training, _Probe):
    """Train again on a few forget items, in the same language or another, then evaluate.

    A clean control that learns as much from the same items had nothing to recover: compare with it.

    Attributes:
        languages: the items' languages; `source` is the contaminating one.
        items: how many of the corpus's fake items.
        forget: their articles, or their question-answer pairs.
    """

    kind: Literal["relearn"]
    languages: Annotated[tuple[LanguageOrSource, ...], Field(min_length=1)] = ("source",)
    items: Positive = 10
    forget: Literal["articles", "qa"] = "articles"
    steps: Positive = 10
    learning_rate: Rate = 2e-4


class Quantise(_Probe):
    """Merge the adapter, quantise the weights (weight-only, symmetric per group), then evaluate (2410.16454).

    Attributes:
        bits: 8 or 4.
        group: weights of a row that share a scale; None is the whole row.
    """

    kind: Literal["quantise"]
    bits: Literal[8, 4] = 4
    group: Positive | None = 64


class Questions(_Probe):
    """Ask in another form: paraphrased, or switching between the query language and English within a question."""

    kind: Literal["questions"]
    form: Literal["paraphrased", "code_switched"] = "paraphrased"


class Steer(_Probe):
    """Add the mean difference of activations before and after unlearning back at one layer (2606.03291).

    Attributes:
        layer: decoder layer; None is the middle one.
        strength: factor on the difference; 1 undoes it on average.
    """

    kind: Literal["steer"]
    layer: NonNegative | None = None
    strength: Above0 = 1.0


Probe = Annotated[Relearn | Quantise | Questions | Steer, Field(discriminator="kind")]
