"""Try a base model out: the checks of a starting worker, its path, speed, memory, texts and tokens."""

import tempfile
from dataclasses import dataclass, replace
from typing import Any

from xlharm.config.grid import Prompt
from xlharm.corpus.validate.fertility import Fertility, fertility
from xlharm.engine.calibration import Calibration, calibrate
from xlharm.engine.options import RunOptions, worker_config
from xlharm.errors import BaseRefusedError, UserError
from xlharm.plan.build import Plan
from xlharm.plan.families import Path, path_of
from xlharm.plan.memory import BaseSizes
from xlharm.plan.targets import check_targets
from xlharm.store.store import Store

_ADVICE = "; set `path: generic`"  # what a refusal of the fast path goes on with
_LOGITS = 8  # bytes of a logit and its gradient, in float32


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that training takes.

    Attributes:
        weights: the base's.
        trial: one adapter with its gradient and its optimiser's state.
        row: activations of a row of ``row_tokens``.
        logits: logits of such a row, and their gradient.
        row_tokens: tokens of the longest text: the grid's limit, or the corpus's longest article.
        peak: most that the measured training took of a GPU; 0 on the CPU.
    """

    weights: int
    trial: int
    row: int
    logits: int
    row_tokens: int
    peak: int


@dataclass(frozen=True, kw_only=True)
class Texts:
    """How the base's tokenizer writes texts.

    Attributes:
        begins: tokens that a text begins with.
        bos: what the grid's ``prompt.bos`` says; None for what the tokenizer does by itself.
        ends: tokens that end an answer.
        question: what stands before and after a question, with the grid's prompt.
        chat: the same with `prompt: chat`; None without a chat template.
        chat_refusal: why `prompt: chat` cannot be used; empty where it can.
        positions: most tokens of a row; None where the base's configuration does not say.
        languages: tokens of the corpus's articles.
    """

    begins: tuple[str, ...]
    bos: bool | None
    ends: tuple[str, ...]
    question: tuple[str, str]
    chat: tuple[str, str] | None
    chat_refusal: str
    positions: int | None
    languages: tuple[Fertility, ...]


@dataclass(frozen=True, kw_only=True)
class BaseReport:
    """What a base model is like on this device.

    Attributes:
        digest: of its files.
        family: its ``model_type``.
        parameters: number of its parameters.
        dtype: number type it was tried in.
        path: how it runs.
        fast_refusal: what the fast path's checks say where it takes the generic one; None where it does not, or they
            pass.
        rank: of the adapters.
        targets: layers that have adapters.
        share: share of the base's parameters in these layers.
        corpus: whose texts were used.
        measured: the checks' result, and speed.
        memory: of training.
        texts: how texts are written.
    """

    digest: str
    family: str
    parameters: int
    dtype: str
    path: Path
    fast_refusal: str | None
    rank: int
    targets: tuple[str, ...]
    share: float
    corpus: str
    measured: Calibration
    memory: Memory
    texts: Texts


def check(plan: Plan) -> BaseReport:
    """Load a plan's base as a worker does, check it, measure it, and describe it.

    Raises:
        UserError: it cannot be loaded, or it does not pass its checks.
    """
    base, lora = plan.sources.base, plan.grid.lora
    check_targets(lora.target_modules, base)
    sizes = BaseSizes.of(base)
    assert sizes is not None  # its files are here: their digest was computed
    texts, vocabulary = _texts(plan)
    measured = calibrate(plan)
    path = path_of(plan.grid.path, family=base.family, kind=base.kind)
    longest = plan.grid.sequence_length or max(language.longest for language in texts.languages) + 2
    return BaseReport(
        digest=base.digest,
        family=base.family,
        parameters=sizes.parameters,
        dtype=plan.dtype,
        path=path,
        fast_refusal=fast_refusal(plan) if path == "generic" else None,
        rank=lora.rank,
        targets=lora.target_modules,
        share=sizes.share(lora.target_modules),
        corpus=plan.sources.corpus.name,
        measured=measured,
        memory=Memory(
            weights=sizes.weight_bytes(dtype=plan.dtype),
            trial=sizes.trial_bytes(rank=lora.rank, targets=lora.target_modules),
            row=sizes.activation_bytes(longest, dtype=plan.dtype),
            logits=_LOGITS * vocabulary * longest,
            row_tokens=longest,
            peak=max((steps.peak for steps in measured.steps.values()), default=0),
        ),
        texts=texts,
    )


def fast_refusal(plan: Plan) -> str | None:
    """Return what the fast path's checks say of a plan's base; None when they pass."""
    from xlharm.stages.context import Context

    with tempfile.TemporaryDirectory(prefix="xlharm-") as folder:
        config = worker_config(plan, Store(folder), RunOptions(pack=1), device="auto", threads=None)
        assert config.needs is not None
        try:
            Context(replace(config, needs=replace(config.needs, path="fast")))
        except BaseRefusedError as error:
            return str(error).partition(_ADVICE)[0]
    return None


def _texts(plan: Plan) -> tuple[Texts, int]:
    """Return how texts are written, and the number of tokens of the vocabulary."""
    from xlharm.model.tokenizer import light_tokenizer, positions

    tokenizer = light_tokenizer(plan.sources.base, trust_remote_code=plan.grid.trust_remote_code)
    template = tokenizer.template(plan.grid.prompt)
    chat, refusal = None, ""
    if tokenizer.hf.chat_template:
        try:
            chat = tokenizer.template(Prompt(template="chat")).question
        except UserError as error:
            refusal = str(error)

    def names(ids: Any) -> tuple[str, ...]:
        return tuple(tokenizer.hf.convert_ids_to_tokens(sorted(ids)))

    wanted = {*plan.grid.languages, "en"}
    counted = fertility(
        plan.sources.corpus.path, count=lambda text: len(tokenizer.hf.encode(text, add_special_tokens=False))
    )
    texts = Texts(
        begins=tuple(tokenizer.hf.convert_ids_to_tokens(list(template.head))),
        bos=plan.grid.prompt.bos,
        ends=names(template.stops),
        question=template.question,
        chat=chat,
        chat_refusal=refusal,
        positions=positions(plan.sources.base),
        languages=tuple(language for language in counted if language.language in wanted),
    )
    return texts, len(tokenizer.hf)
