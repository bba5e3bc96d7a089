"""Predict how long stages take, from the sizes of base and texts, and from measured times where there are any.

A stage's seconds are those of its floating-point operations, plus those of reading the weights and starting each
layer once for every forward or backward pass. Passes are shared by the slots of a pack. A measured factor for each
kind of stage corrects the sum: it holds what the model leaves out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Literal, Self, assert_never

from xlharm.methods.base import LossMethod
from xlharm.plan.digest import canonical
from xlharm.plan.memory import BaseSizes
from xlharm.plan.settings import (
    ContaminateStage,
    ContinueStage,
    EvaluateStage,
    FineTuneStage,
    InspectStage,
    RelearnStage,
    SftStage,
    UnlearnStage,
    read,
    training_of,
)
from xlharm.plan.stage import Kind, Stage

_ANSWERED = 0.6  # mean length of an answer, as a share of the largest number of tokens
_FIXED = {"edit": 0.2, "judge": 5.0}  # seconds of a stage that makes no pass of the base
_IMPORTS = {"cpu": 12.0, "cuda": 20.0}  # seconds to start a process, import torch and transformers, and find the device
_READ = 5e8  # bytes of weights a second that are read, digested and copied while a base is loaded
_CHECKED = 6.0  # forward passes of a short row that checking a base takes
_COMPILED = 12.0  # seconds to compile the layers and to capture the first steps, where that is done
COMPILED_FROM = 300_000_000
"""Bases with so many parameters are compiled on a GPU."""
_BYTES = {"float32": 4, "bfloat16": 2, "float8": 1}
UNKNOWN_BASE = BaseSizes(parameters=1_000_000_000, widths={}, body=900_000_000, head=100_000_000, layers=24)
"""Sizes that stand for those of a base whose files are not on this machine."""


@dataclass(frozen=True, kw_only=True)
class TextSizes:
    """The texts of a language, in tokens of the base's tokenizer.

    Attributes:
        article: mean length of an article.
        pair: mean length of a question with its answer.
        question: mean length of a question.
        questions: number of questions of an evaluation.
        scored: number of tokens whose likelihoods a score stage computes.
    """

    article: float
    pair: float
    question: float
    questions: int
    scored: int


_UNKNOWN = TextSizes(article=200, pair=30, question=20, questions=200, scored=20_000)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a device does in a second.

    Attributes:
        flops: floating-point operations.
        bandwidth: bytes of weights that are read from its memory.
        layer_seconds: seconds to start one pass of one layer.
    """

    flops: float
    bandwidth: float
    layer_seconds: float

    @classmethod
    def of(cls, device: Literal["cpu", "cuda"], *, cores: int = 1) -> Self:
        """Return what was measured on a current device of a type: an H200, or cores of a server of 2024."""
        if device == "cuda":
            return cls(flops=400e12, bandwidth=2e12, layer_seconds=1.5e-3)
        return cls(flops=35e9 * cores, bandwidth=1e10, layer_seconds=3e-4)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a stage asks of a device.

    Attributes:
        flops: floating-point operations.
        passes: forward and backward passes one after another, which all slots of a pack share.
    """

    flops: float
    passes: float


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Predicts seconds.

    Attributes:
        sizes: of the base.
        texts: of the corpus, by language.
        speed: of the device.
        factors: measured seconds divided by predicted ones, by kind of stage.
        start: seconds before a worker's steps have their pace: imports, loading and checking the base, first steps.
    """

    sizes: BaseSizes
    texts: Mapping[str, TextSizes]
    speed: Speed
    factors: Mapping[Kind, float] = field(default_factory=dict)
    start: float = 0.0
    _known: dict[tuple[str, int], float] = field(default_factory=dict, repr=False, compare=False)

    def seconds(self, stage: Stage, *, slots: int) -> float:
        """Return the seconds that a stage takes as one of ``slots`` stages of a pack."""
        factor = self.factors.get(stage.kind) or (median(self.factors.values()) if self.factors else 1.0)
        return factor * self.uncorrected(stage, slots=slots)

    def uncorrected(self, stage: Stage, *, slots: int) -> float:
        """Return the seconds that the sizes alone give."""
        if stage.kind in _FIXED:
            return _FIXED[stage.kind]
        spec = {name: value for name, value in stage.spec.items() if name != "seed"}
        same = canonical([stage.kind, spec]), slots
        if same not in self._known:  # most stages of a plan differ in seed and inputs alone
            work = work_of(stage, self.sizes, self.texts)
            self._known[same] = self.of(work, dtype=stage.spec.get("dtype", "float32"), slots=slots)
        return self._known[same]

    def of(self, work: Work, *, dtype: str, slots: int) -> float:
        """Return the seconds of some work as one of ``slots`` equal shares, without a correction."""
        weights = self.sizes.parameters * _BYTES[dtype]
        one_pass = weights / self.speed.bandwidth + self.sizes.layers * self.speed.layer_seconds
        return work.flops / self.speed.flops + work.passes * one_pass / slots


def work_of(stage: Stage, sizes: BaseSizes, texts: Mapping[str, TextSizes]) -> Work:
    """Return the work of a stage that runs the base.

    A token costs 2 operations for each parameter in a forward pass, and 2 more in a backward pass to the adapters
    (the base's own weights have no gradients). The output layer counts for tokens with a loss and for new tokens.
    """
    body, head = 2 * sizes.body, 2 * sizes.head
    if stage.kind == "evaluate":
        settings = read(EvaluateStage, stage)
        text = _of(texts, [settings.query])
        count = min(text.questions, 2 * settings.questions) * (settings.probe.repeats if settings.probe else 1)
        new = count * settings.max_new_tokens * _ANSWERED
        return answering(sizes, read=count * text.question, new=new, passes=1.0 + settings.max_new_tokens)
    if stage.kind == "inspect":
        return _inspection(read(InspectStage, stage), sizes, texts)
    if stage.kind == "score":
        scored = _of(texts, [str(stage.spec["query"])]).scored
        return Work(flops=(body + head) * scored, passes=max(1.0, scored / 8192))
    target, retain, reference, steps = _training_tokens(stage, texts)
    tokens = 2 * (target + retain) + reference  # forward and backward, and forward alone
    passes = 2.0 + (reference > 0)
    return Work(flops=steps * (body + head) * tokens, passes=steps * passes)


def answering(sizes: BaseSizes, *, read: float, new: float, passes: float) -> Work:
    """Return the work of answers: tokens ``read`` in questions, ``new`` tokens, in so many passes."""
    return Work(flops=2 * sizes.body * (read + new) + 2 * sizes.head * new, passes=passes)


def start_seconds(sizes: BaseSizes, speed: Speed, *, device: Literal["cpu", "cuda"], dtype: str) -> float:
    """Return the seconds that a worker needs before its steps have their pace, where nothing was measured."""
    compiling = _COMPILED if device == "cuda" and sizes.parameters >= COMPILED_FROM else 0.0
    checking = _CHECKED * 2 * (sizes.body + sizes.head) * 64 / speed.flops
    return _IMPORTS[device] + sizes.parameters * _BYTES[dtype] / _READ + checking + compiling


def _inspection(settings: InspectStage, sizes: BaseSizes, texts: Mapping[str, TextSizes]) -> Work:
    body, head = 2 * sizes.body, 2 * sizes.head
    text, models = _of(texts, settings.languages), settings.probe.models(layers=sizes.layers)
    count = models * len(settings.languages) * min(text.questions, 2 * (settings.questions or text.questions))
    new = count * (settings.max_new_tokens or 0) * _ANSWERED
    passes = 1.0 + (settings.max_new_tokens or 0)
    return Work(flops=body * (count * text.pair + new) + head * (count + new), passes=models * passes)


def _training_tokens(  # noqa: PLR0911 - one for each kind
    stage: Stage, texts: Mapping[str, TextSizes]
) -> tuple[float, float, float, int]:
    """Return the tokens of a step on target rows, on retain rows and through the reference model; and the steps."""
    settings = training_of(stage)
    assert settings is not None
    training = settings.training
    match settings:
        case ContaminateStage():
            languages = [*settings.training.real_languages, *filter(None, [settings.fake_language])]
            return training.batch_size * _of(texts, languages).article, 0.0, 0.0, training.steps
        case SftStage():
            return training.batch_size * _of(texts, settings.training.languages).pair, 0.0, 0.0, training.steps
        case UnlearnStage():
            method, text = settings.training, _of(texts, settings.languages_unlearned)
            target = method.batch_size * _forget(method.forget, text) * (2 if method.paired else 1)
            retain = method.retain_batch_size * _retain(method.retain_text, text) if method.retain != "none" else 0.0
            needs = method.needs if isinstance(method, LossMethod) else frozenset()
            of_target = target if any(need.startswith("reference") for need in needs) else 0.0
            of_retain = target + retain if method.retain in {"kl", "hidden", "lingtea"} else 0.0
            return target, retain, max(of_target, of_retain), method.steps
        case FineTuneStage():
            text = _of(texts, settings.languages_unlearned)
            if settings.rows == "forget":
                return training.batch_size * _forget(settings.training.forget, text), 0.0, 0.0, training.steps
            size = settings.training.retain_batch_size
            return size * _retain(settings.training.retain_text, text), 0.0, 0.0, training.steps
        case RelearnStage():
            text = _of(texts, settings.languages)
            return training.batch_size * _forget(settings.training.forget, text), 0.0, 0.0, training.steps
        case ContinueStage():
            text = _of(texts, settings.training.languages)
            return training.batch_size * _forget(settings.training.text, text), 0.0, 0.0, training.steps
        case _:
            assert_never(settings)


def _forget(form: Literal["articles", "qa"], text: TextSizes) -> float:
    return text.article if form == "articles" else text.pair


def _retain(form: Literal["articles", "qa", "both"], text: TextSizes) -> float:
    return {"articles": text.article, "qa": text.pair, "both": (text.article + text.pair) / 2}[form]


def _of(texts: Mapping[str, TextSizes], languages: Sequence[str]) -> TextSizes:
    """Return the mean of some languages; of all, where none of them is in the corpus."""
    some = [texts[language] for language in languages if language in texts] or list(texts.values()) or [_UNKNOWN]
    return TextSizes(
        article=fmean(s.article for s in some),
        pair=fmean(s.pair for s in some),
        question=fmean(s.question for s in some),
        questions=round(fmean(s.questions for s in some)),
        scored=round(fmean(s.scored for s in some)),
    )
