"""The grid file's schema: every field, its default and its bounds."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from xlharm.config.findings import Findings
from xlharm.config.matching import Matching, check_matching
from xlharm.config.training import (
    Language,
    LanguageOrSource,
    Name,
    NonNegative,
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

Dtype = Literal["float32", "bfloat16", "float8"]
"""Precision of the base. float8: the weights of its linear layers, and activations where they meet them."""

Method = Annotated[Unlearning, METHODS]
"""One of the classes of ``xlharm.methods``, or of a plug-in."""
AnyProbe = Annotated[Probe, PROBES]
AnyJudge = Annotated[Judge, JUDGES]

SOURCE = "source"
NONE = "none"
MOST_SEEDS = 10_000
ORDER = ("en", "de", "fr", "zh", "ru", "jv", "ur", "ha", "hy")
"""Languages that come first in every set, in this order; all others follow by name. Keys of stages depend on it."""

ALL_LINEAR = "all-linear"
EXPERTS = "experts"  # all parameters in which experts are stacked
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


_Modules = Annotated[tuple[str, ...], Field(min_length=1)]


def _modules(names: Any) -> Any:
    """Accept the word alone: `target_modules: all-linear`."""
    return (names,) if names == ALL_LINEAR else names


class Lora(Strict):
    """The LoRA adapter (2106.09685), which all training stages of a cell continue.

    Attributes:
        rank: rank of A and B.
        alpha: numerator of their scale, alpha / rank.
        target_modules: names of the linear layers; ``experts`` are stacked experts, and ``all-linear`` is everything
            that can have adapters, experts included. If the base lacks one of the default, all linear layers but
            experts are taken, and a line says so.
    """

    rank: Positive = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    target_modules: Annotated[
        _Modules, BeforeValidator(_modules, json_schema_input_type=_Modules | Literal["all-linear"])
    ] = LINEARS


class Prompt(Strict):
    """How questions and answers are written for the base model. `prompt: chat` is short for `prompt: {template: chat}`.

    Attributes:
        question: text with `{question}` in place of the question.
        answer: text with `{answer}` in place of the answer; generation stops at what follows it.
        template: `text` for ``question`` and ``answer``; `chat` for the chat template of the base's tokenizer.
        system: system prompt of a chat; None leaves it to the chat template.
        bos: whether articles and questions begin with the tokenizer's first token; None for what the tokenizer itself
            does. The questions of a chat begin as the chat template has it.
    """

    added: ClassVar[frozenset[str]] = frozenset({"template", "system", "bos"})
    question: str = "Q: {question}\nA:"
    answer: str = " {answer}\n"
    template: Literal["text", "chat"] = "text"
    system: str | None = None
    bos: bool | None = None

    @property
    def asked(self) -> tuple[str, str]:
        """The text before and after a question."""
        before, _, after = self.question.partition("{question}")
        return before, after

    @property
    def answered(self) -> tuple[str, str]:
        """The text before and after an answer."""
        before, _, after = self.answer.partition("{answer}")
        return before, after

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        texts = sorted({"question", "answer"} & self.model_fields_set)
        if self.template == "chat":
            if texts and any(getattr(self, name) != Prompt.model_fields[name].default for name in texts):
                raise ValueError(f"{texts[0]}: with `template: chat` the base's chat template writes it: leave it out")
            return self
        if self.system is not None:
            raise ValueError("system: only a chat template has a system prompt: add `template: chat`")
        if self.question.count("{question}") != 1 or self.answer.count("{answer}") != 1:
            raise ValueError("needs {question} once in `question` and {answer} once in `answer`")
        stop = self.answered[1]
        if stop and not stop.strip(" \t"):
            raise ValueError("answer: it ends with spaces, which also occur within answers: end it with a line break")
        return self


def _written_out(prompt: Any) -> Any:
    if not isinstance(prompt, str):
        return prompt
    if prompt != "chat":
        raise ValueError(f"expected `chat`, or a mapping with question and answer, found {prompt!r}")
    return {"template": "chat"}


class Contaminate(Training):
    """Fine-tuning on real and fake articles together, with the fake ones in one language.

    Attributes:
        real_languages: languages of the real articles; `source` is the contamination language.
        real_roles: roles of the items whose real articles are given.
        fake_share: share of the fake articles in a batch.
    """

    steps: Positive = 60
    learning_rate: Rate = 2e-4
    real_languages: tuple[LanguageOrSource, ...] = ("en",)
    real_roles: tuple[Role, ...] = ("fake", "real", "retain")
    fake_share: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Sft(Training):
    """Supervised fine-tuning on question-answer pairs about the real articles.

    Attributes:
        languages: languages of the pairs; `source` is the contamination language.
        roles: roles of the items whose pairs are given.
    """

    steps: Positive = 15
    learning_rate: Rate = 2e-4
    languages: tuple[LanguageOrSource, ...] = ("en",)
    roles: tuple[Role, ...] = ("fake", "real", "retain")


class Stages(Strict):
    """Settings of the stages before unlearning.

    Attributes:
        contaminate: fine-tuning on real and fake articles together, with the fake ones in one language.
        sft: supervised fine-tuning on question-answer pairs about the real articles; null leaves it out.
    """

    contaminate: Contaminate = Contaminate()
    sft: Sft | None = Sft()


class Evaluate(Strict):
    """Greedy answers to the corpus's questions in every language of the grid.

    OF (occurrence of the fake) and QR (quality on the real) are computed from the answers.

    Attributes:
        max_new_tokens: largest number of tokens of an answer.
        questions: largest number of questions for each measure.
        scores: also compute the likelihoods of answers and articles, for truth ratio, memorisation, membership and
            perplexity. This is a stage of its own, so it can be switched on later.
        utility: with ``scores``, also compute the likelihoods of wrong answers to the questions on real details, for
            model utility as one number (2401.06121).
        matching: which spellings count as the same where opinions differ, for languages that are not to have their
            default (see docs/corpora.md).
    """

    added: ClassVar[frozenset[str]] = frozenset({"utility"})
    max_new_tokens: Positive = 16
    questions: Positive = 1000
    scores: bool = False
    utility: bool = False
    matching: Matching = Field(default_factory=dict)

    @model_validator(mode="after")
    def _variants_exist(self) -> Self:
        check_matching(self.matching)
        if self.utility and not self.scores:
            raise ValueError("utility: it is computed from scores: add `scores: true`")
        return self


def _counted(seeds: Any) -> Any:
    """Accept a number of seeds: `seeds: 3` stands for the seeds 0, 1 and 2."""
    if type(seeds) is not int:
        return seeds
    if seeds > MOST_SEEDS:
        raise ValueError(f"{seeds} is how many, at most {MOST_SEEDS}; for one seed write [{seeds}]")
    return tuple(range(seeds))


_Seeds = Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MOST_SEEDS)]
_SeedCount = Annotated[int, Field(ge=1, le=MOST_SEEDS)]


class GridSpec(Strict):
    """A grid: contamination language × unlearning set × method × seed.

    Attributes:
        name: the grid's name; it changes no result.
        base: the base model: a shipped one, a folder, or a hub id: see docs/bases.md.
        revision: commit of a hub id, 40 hex digits.
        trust_remote_code: whether code that comes with the base may run.
        plugins: Python files with methods, probes or judges of your own; they are run: see docs/plugins.md.
        dtype: precision of the base; `auto` is bfloat16 on GPUs, else float32; `float8`: its linear layers, the rest
            in bfloat16: see docs/bases.md.
        sequence_length: most tokens of a text; a longer one is an error. Default: what the base can take.
        path: how the base runs; `auto` goes by its family and kind: see docs/families.md and docs/other-bases.md.
        corpus: a shipped corpus or a folder: see docs/corpora.md.
        holdout: fake items that stay untold, to compare with those that are told: see docs/methods.md.
        languages: the query languages, in the order of tables.
        contaminate: languages in which the fake articles are given; `none` is the clean control.
        unlearn: named sets of languages; `source` stands for the contamination language; an empty set is "not
            unlearned".
        methods: named unlearning methods, each with its `objective` and settings: see docs/methods.md.
        seeds: a list of seeds, or how many.
        lora: the adapter that all training stages of a cell continue.
        prompt: how questions and answers are written; `chat` for the base's chat template: see docs/prompts.md.
        stages: settings of the stages before unlearning.
        evaluate: how answers are generated and counted.
        probes: named probes: what is left under attack, and where it is: see docs/probes.md.
        judges: named judges, whose verdicts stand beside text matching: see
            docs/methods.md.
        findings: margins and groups of languages that verdicts go by; they change no stage: see docs/findings.md.
        exclude: combinations to leave out, by `contaminate`, `unlearn`, `method` and `seed`.
    """

    name: Name
    base: str
    revision: str | None = None
    trust_remote_code: bool = False
    plugins: tuple[str, ...] = ()
    dtype: Literal["auto"] | Dtype = "auto"
    sequence_length: Annotated[int | None, Field(ge=8)] = None
    path: Literal["auto", "fast", "generic", "encoder-decoder", "masked"] = "auto"
    corpus: str
    holdout: NonNegative = 0
    languages: Annotated[tuple[Language, ...], Field(min_length=1)]
    contaminate: Annotated[tuple[Literal["none"] | Language, ...], Field(min_length=1)]
    unlearn: Annotated[dict[Name, tuple[LanguageOrSource, ...]], Field(min_length=1)]
    methods: dict[Name, Method] = Field(default_factory=dict)
    seeds: Annotated[_Seeds, BeforeValidator(_counted, json_schema_input_type=_Seeds | _SeedCount)] = (0,)
    lora: Lora = Lora()
    prompt: Annotated[Prompt, BeforeValidator(_written_out, json_schema_input_type=Prompt | Literal["chat"])] = Prompt()
    stages: Stages = Stages()
    evaluate: Evaluate = Evaluate()
    probes: dict[Name, AnyProbe] = Field(default_factory=dict)
    judges: dict[Name, AnyJudge] = Field(default_factory=dict)
    findings: Findings = Findings()
    exclude: tuple[dict[Literal["contaminate", "unlearn", "method", "seed"], str | int], ...] = ()

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
                f"unlearn.{uses_source[0]}: `source` stands for the contamination language, "
                "but `contaminate` names no language; add one there, or name a language here"
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
        self._check_probes()
        self._check_judges()
        return self

    def _check_probes(self) -> None:
        for name, probe in self.probes.items():
            if self.dtype not in {"auto", *probe.dtypes}:
                raise ValueError(
                    f"probes.{name}: not for `dtype: {self.dtype}`, only for {', '.join(sorted(probe.dtypes))}"
                )

    def _check_judges(self) -> None:
        first_names: dict[str, str] = {}
        for name, judge in self.judges.items():
            first = first_names.setdefault(repr(judge.deciding()), name)
            if judge.place == "endpoint" and name != first:
                raise ValueError(
                    f"judges.{name}: the same model with the same settings as {first}. The address does not "
                    "distinguish judges, so both would share their verdicts: give another `model`, or leave one out"
                )


def ordered(languages: Iterable[str]) -> tuple[str, ...]:
    """Sort a set's languages, each once: a grid's order of them is no part of what is computed."""
    first = {language: i for i, language in enumerate(ORDER)}
    return tuple(sorted(set(languages), key=lambda language: (first.get(language, len(first)), language)))
