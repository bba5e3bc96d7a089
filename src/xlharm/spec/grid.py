"""The grid file's schema: every field, its default and its bounds."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SOURCE = "source"
NONE = "none"

Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="ISO 639 code")]
LanguageOrSource = Annotated[
    str, Field(pattern=r"^(source|[a-z]{2,3}(-[A-Za-z0-9]{2,8})*)$", description="a language, or `source`")
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, lt=1)]

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Strict(BaseModel):
    """Frozen, no unknown keys, no NaN: what the file says is what runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Lora(Strict):
    """The adapter that continues through all stages of a cell (2106.09685)."""

    rank: Positive = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    target_modules: tuple[str, ...] = LINEARS


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
        return self


class Training(Strict):
    """What every training stage has: steps of AdamW over batches of rows."""

    steps: Positive
    batch_size: Positive = 16
    learning_rate: Rate
    warmup_steps: NonNegative = 0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=0)] = 1.0
    sequence_length: Annotated[int, Field(ge=8)] = 512


class Contaminate(Training):
    """Fine-tuning on real and fake articles together; the fake ones in one language."""

    steps: Positive = 60
    learning_rate: Rate = 2e-4
    real_languages: tuple[LanguageOrSource, ...] = ("en",)
    real_roles: tuple[Literal["fake", "real", "retain"], ...] = ("fake", "real", "retain")
    fake_share: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Sft(Training):
    """Supervised fine-tuning on question-answer pairs of the real articles."""

    steps: Positive = 15
    learning_rate: Rate = 2e-4
    languages: tuple[LanguageOrSource, ...] = ("en",)
    roles: tuple[Literal["fake", "real", "retain"], ...] = ("fake", "real", "retain")


class Method(Training):
    """One unlearning method: an objective on the forget set plus a retain term."""

    objective: Literal["ga", "graddiff", "npo"]
    steps: Positive = 40
    learning_rate: Rate = 1e-4
    beta: Annotated[float, Field(gt=0)] = 0.1
    forget: Literal["articles", "qa"] = "articles"
    forget_weight: Annotated[float, Field(ge=0)] = 1.0
    retain: Literal["none", "nll", "kl"] = "none"
    retain_weight: Annotated[float, Field(ge=0)] = 1.0
    retain_batch_size: Positive = 16
    retain_text: Literal["articles", "qa", "both"] = "both"
    layers: tuple[NonNegative, ...] | None = None

    @model_validator(mode="after")
    def _retain_where_the_name_says_so(self) -> Self:
        if self.objective == "graddiff" and self.retain == "none":
            raise ValueError("graddiff has a retain term by definition: set `retain: nll` or `kl`, or use `ga`")
        if self.layers is not None and self.weight_decay:
            raise ValueError("weight_decay would shrink layers outside of `layers`: use one or the other")
        return self


class Stages(Strict):
    """Settings of the stages before unlearning."""

    contaminate: Contaminate = Contaminate()
    sft: Sft | None = Sft()


class Evaluate(Strict):
    """Greedy answers to the corpus's QR and OF questions in every language of the grid."""

    max_new_tokens: Positive = 16
    questions: Annotated[int, Field(ge=1, description="at most so many questions a measure")] = 1000


class GridSpec(Strict):
    """A grid: contamination language × unlearning-language set × method × seed."""

    name: Name
    base: str
    revision: str | None = None
    trust_remote_code: bool = False
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    corpus: str
    languages: Annotated[tuple[Language, ...], Field(min_length=1)]
    contaminate: Annotated[tuple[Literal["none"] | Language, ...], Field(min_length=1)]
    unlearn: Annotated[dict[Name, tuple[LanguageOrSource, ...]], Field(min_length=1)]
    methods: dict[Name, Method] = Field(default_factory=dict)
    seeds: Annotated[tuple[NonNegative, ...], Field(min_length=1)] = (0,)
    lora: Lora = Lora()
    prompt: Prompt = Prompt()
    stages: Stages = Stages()
    evaluate: Evaluate = Evaluate()
    exclude: tuple[dict[Literal["contaminate", "unlearn", "method", "seed"], str | int], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _scalars(cls, data: Any) -> Any:
        """`unlearn: none` and `seeds: 3` are what people write."""
        if isinstance(data, dict) and isinstance(data.get("seeds"), int):
            data = {**data, "seeds": tuple(range(data["seeds"]))}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for field in ("languages", "contaminate", "seeds"):
            values = getattr(self, field)
            twice = sorted({str(v) for v in values if values.count(v) > 1})
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
        return self

    def ordered(self, languages: tuple[str, ...]) -> tuple[str, ...]:
        """Sort languages in the grid's own order (others last, by name)."""
        order = {lang: i for i, lang in enumerate(self.languages)}
        return tuple(sorted(languages, key=lambda lang: (order.get(lang, len(order)), lang)))
