"""The grid file's schema: every field, its default and its bounds."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from xlharm.config.training import (
    Language,
    LanguageOrSource,
    Name,
    Positive,
    Rate,
    Role,
    Seed,
    Strict,
    Training,
)
from xlharm.config.unlearning import Unlearning
from xlharm.judges import JUDGES
from xlharm.judges.base import Judge
from xlharm.methods import METHODS
from xlharm.probes import PROBES
from xlharm.probes.base import Probe

Method = Annotated[Unlearning, METHODS]
"""One of the classes of ``xlharm.methods``, or of a plug-in."""
AnyProbe = Annotated[Probe, PROBES]
AnyJudge = Annotated[Judge, JUDGES]

SOURCE = "source"
NONE = "none"
MOST_SEEDS = 10_000
ORDER = ("en", "de", "fr", "zh", "ru", "jv", "ur", "ha", "hy")
"""Languages that come first in every set, in this order; all others follow by name. Keys of stages depend on it."""

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Lora(Strict):
    """The adapter that continues through all stages of a cell (2106.09685)."""

    rank: Positive = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] = LINEARS


class Prompt(Strict):
    """How a question and its answer are written for the base."""

    question: str = "Q: {question}\nA:"
    answer: str = " {answer}\n"

    @property
    def stop(self) -> str:
        """What the base writes after an answer."""
        return self.answer.partition("{answer}")[2]

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        if "{question}" not in self.question or "{answer}" not in self.answer:
            raise ValueError("needs {question} in `question` and {answer} in `answer`")
        if self.stop and not self.stop.strip(" \t"):
            raise ValueError("answer: it ends with spaces, which answers have within them: end it with a line break")
        return self


class Contaminate(Training):
    """Fine-tuning on real and fake articles together; the fake ones in one language."""

    steps: Positive = 60
    learning_rate: Rate = 2e-4
    real_languages: tuple[LanguageOrSource, ...] = ("en",)
    real_roles: tuple[Role, ...] = ("fake", "real", "retain")
    fake_share: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Sft(Training):
    """Supervised fine-tuning on question-answer pairs of the real articles."""

    steps: Positive = 15
    learning_rate: Rate = 2e-4
    languages: tuple[LanguageOrSource, ...] = ("en",)
    roles: tuple[Role, ...] = ("fake", "real", "retain")


class Stages(Strict):
    """Settings of the stages before unlearning."""

    contaminate: Contaminate = Contaminate()
    sft: Sft | None = Sft()


class Evaluate(Strict):
    """Greedy answers to the corpus's QR and OF questions in every language of the grid.

    Attributes:
        max_new_tokens: longest answer.
        questions: at most so many questions a measure.
        scores: also score given answers and articles by their likelihood: truth ratio, memorisation, membership,
            perplexity (a stage of its own, so it can be switched on later).
    """

    max_new_tokens: Positive = 16
    questions: Positive = 1000
    scores: bool = False


class GridSpec(Strict):
    """A grid: contamination language × unlearning-language set × method × seed."""

    name: Name
    base: str
    revision: str | None = None
    trust_remote_code: bool = False
    plugins: Annotated[
        tuple[str, ...],
        Field(description="Python files with methods, probes or judges of your own; they are run"),
    ] = ()
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    corpus: str
    languages: Annotated[tuple[Language, ...], Field(min_length=1)]
    contaminate: Annotated[tuple[Literal["none"] | Language, ...], Field(min_length=1)]
    unlearn: Annotated[dict[Name, tuple[LanguageOrSource, ...]], Field(min_length=1)]
    methods: dict[Name, Method] = Field(default_factory=dict)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MOST_SEEDS)] = (0,)
    lora: Lora = Lora()
    prompt: Prompt = Prompt()
    stages: Stages = Stages()
    evaluate: Evaluate = Evaluate()
    probes: dict[Name, AnyProbe] = Field(default_factory=dict)
    judges: dict[Name, AnyJudge] = Field(default_factory=dict)
    exclude: tuple[dict[Literal["contaminate", "unlearn", "method", "seed"], str | int], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _scalars(cls, data: Any) -> Any:
        """`unlearn: none` and `seeds: 3` are what people write."""
        if isinstance(data, dict) and type(count := data.get("seeds")) is int:
            if count > MOST_SEEDS:
                raise ValueError(f"seeds: {count} is how many, at most {MOST_SEEDS}; for one seed write [{count}]")
            data = {**data, "seeds": tuple(range(count))}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for field in ("languages", "contaminate", "seeds"):
            values = getattr(self, field)
            twice = sorted(str(v) for v, count in Counter(values).items() if count > 1)
            if twice:
                raise ValueError(f"{field}: {twice[0]} is named twice")
        uses_source = [name for name, langs in self.unlearn.items() if SOURCE in langs]
        if uses_source and all(c == NONE for c in self.contaminate):
            raise ValueError(
                f"unlearn.{uses_source[0]}: `source` is the contaminating language, "
                "but `contaminate` names none; add a language there or name one here"
            )
        if any(self.unlearn.values()) and not self.methods:
            raise ValueError("methods: unlearning sets need at least one method")
        for name, langs in self.unlearn.items():
            if len(set(langs)) != len(langs):
                raise ValueError(f"unlearn.{name}: a language is named twice")
        known = {*self.languages, *self.contaminate, *(x for langs in self.unlearn.values() for x in langs)}
        for name, method in self.methods.items():
            for lang in method.mix if isinstance(method.mix, dict) else ():
                if lang not in known - {NONE, SOURCE}:
                    raise ValueError(f"methods.{name}.mix: the grid has no language {lang!r}")
        self._check_judges()
        return self

    def _check_judges(self) -> None:
        seen: dict[str, str] = {}
        for name, judge in self.judges.items():
            first = seen.setdefault(repr(judge.deciding()), name)
            if judge.place == "endpoint" and name != first:
                raise ValueError(
                    f"judges.{name}: the same model asked in the same way as {first}; an address is no part of a "
                    "judge, so both would have one verdict: tell them apart by `model`, or leave one out"
                )


def ordered(languages: Iterable[str]) -> tuple[str, ...]:
    """Sort a set's languages, each once: a grid's order of them is no part of what is computed."""
    first = {language: i for i, language in enumerate(ORDER)}
    return tuple(sorted(set(languages), key=lambda language: (first.get(language, len(first)), language)))
