"""A translation model on this machine: NLLB-200 or M2M-100, sentence by sentence, in batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from xlharm.corpus.format import Item
from xlharm.corpus.translate.assemble import CutError, Tell, assembled, text_in, wanted
from xlharm.corpus.translate.backend import Back, Outcome, Task, scored_texts
from xlharm.corpus.translate.languages import token_of
from xlharm.corpus.translate.sentences import Piece, fitted, join, sentences
from xlharm.errors import StoppedError, UserError
from xlharm.parallel import threads_here
from xlharm.plan.sources import BaseSource
from xlharm.pretrained import as_planned, copy_from_files, load_whole

CHUNK = 8
"""Items translated together: what a kill costs at most."""
_LONGEST = 512  # tokens; both families were trained on no longer ones


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig:
    """A translation model and how to run it.

    Attributes:
        source: where the model lies.
        device: where it runs.
        batch: sentences at once; halved when memory runs out.
        beams: of the search.
        codes: the model's own names of languages, for those that the table lacks.
        threads: that it computes with on the CPU; None takes all that it may use.
    """

    source: BaseSource
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch: int = 32
    beams: int = 4
    codes: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None


class Seq2Seq:
    """The model.

    Raises:
        UserError: it cannot be loaded (weights other than safetensors never are), or there is no such device.
    """

    def __init__(self, config: Seq2SeqConfig, *, stopped: Callable[[], bool] = lambda: False) -> None:
        if config.device == "cuda" and not torch.cuda.is_available():
            raise UserError("--device cuda: there is no GPU here")
        on_gpu = config.device != "cpu" and torch.cuda.is_available()
        if not on_gpu:
            torch.set_num_threads(threads_here(config.threads))
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._config, self._stopped, self._batch = config, stopped, config.batch
        self._tokenizer, self._model = _load(config, self._device)
        self._limit = min(_LONGEST, self._tokenizer.model_max_length, self._model.config.max_position_embeddings)
        self._kept: dict[tuple[str, str], dict[str, str | CutError]] = {}

    def make(self, tasks: Sequence[Task], *, language: str) -> Iterator[Outcome]:
        """Translate English items, a chunk at a time."""
        for start in range(0, len(tasks), CHUNK):
            items = [task.item for task in tasks[start : start + CHUNK]]
            tell = self._teller([s for item in items for s in wanted(item)], source="en", target=language)
            yield from (assembled(item, tell=tell, language=language) for item in items)

    def back(self, items: Sequence[Item], *, language: str) -> Iterator[Back]:
        """Put the articles and questions of translated items into English."""
        for start in range(0, len(items), CHUNK):
            some = items[start : start + CHUNK]
            texts = [text for item in some for text in scored_texts(item).values()]
            pieces = [piece.text for text in texts for piece in sentences(text)]
            tell = self._teller(pieces, source=language, target="en")
            yield from (_back(item, tell) for item in some)

    def _teller(self, texts: Sequence[str], *, source: str, target: str) -> Tell:
        """Translate sentences, each once."""
        kept = self._kept.setdefault((source, target), {})
        fresh = [text for text in dict.fromkeys(texts) if text not in kept]
        kept.update(zip(fresh, self.translate(fresh, source=source, target=target), strict=True))

        def tell(text: str) -> str:
            found = kept[text]
            if isinstance(found, CutError):
                raise found
            return found

        return tell

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str | CutError]:
        """Translate sentences; one that is too long for the model is cut at its clauses.

        Returns:
            For each its translation, or an error where the model did not come to an end.
        """
        tokens = self._tokenizer
        tokens.src_lang = self._code(source)
        parts = [fitted(text, limit=self._limit, count=self._count) for text in texts]
        flat = [piece.text for pieces in parts for piece in pieces]
        told = dict(zip(flat, self._all(flat, target=self._token(target)), strict=True))
        return [_joined(text, pieces, told, language=target) for text, pieces in zip(texts, parts, strict=True)]

    def _count(self, text: str) -> int:
        return len(self._tokenizer(text)["input_ids"])

    def _token(self, language: str) -> str:
        unknown = self._tokenizer.unk_token_id

        def known(token: str) -> bool:
            return bool(self._tokenizer.convert_tokens_to_ids(token) != unknown)

        return token_of(language, known=known, given=self._config.codes.get(language))

    def _code(self, language: str) -> str:
        """Return what the tokenizer calls a language: M2M-100's leaves off the bars of its token."""
        return self._token(language).strip("_")

    def _all(self, texts: Sequence[str], *, target: str) -> list[str | None]:
        """Translate texts that fit, those of like length together."""
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        told: list[str | None] = [None] * len(texts)
        at = 0
        while at < len(order):
            if self._stopped():
                raise StoppedError("stopped")
            some = order[at : at + self._batch]
            try:
                found = self._some([texts[i] for i in some], target=target)
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    raise
                self._batch = max(1, self._batch // 2)
                torch.cuda.empty_cache()
                continue
            for i, text in zip(some, found, strict=True):
                told[i] = text
            at += len(some)
        return told

    @torch.inference_mode()
    def _some(self, texts: Sequence[str], *, target: str) -> list[str | None]:
        """Translate one batch; None for a text that the model did not bring to an end."""
        tokens = self._tokenizer
        batch = tokens(list(texts), return_tensors="pt", padding=True).to(self._device)
        longest = batch["input_ids"].shape[1]
        out = self._model.generate(  # [texts, length]
            **batch,
            forced_bos_token_id=tokens.convert_tokens_to_ids(target),
            num_beams=self._config.beams,
            do_sample=False,
            max_new_tokens=min(self._limit, 3 * longest + 16),
        )
        told = out[:, 2:]  # behind the start and the language
        ended = (told == tokens.eos_token_id).any(1).tolist()
        said = tokens.batch_decode(told, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [text.strip() if end else None for text, end in zip(said, ended, strict=True)]


def _joined(text: str, pieces: list[Piece], told: Mapping[str, str | None], *, language: str) -> str | CutError:
    found = [told[piece.text] for piece in pieces]
    whole = [Piece(t, piece.gap) for t, piece in zip(found, pieces, strict=True) if t is not None]
    if len(whole) < len(pieces):
        return CutError(f"the model does not come to an end of {text[:60]!r}")
    return join(whole, language=language)


def _back(item: Item, tell: Tell) -> Back:
    try:
        texts = {name: text_in(text, tell=tell, language="en") for name, text in scored_texts(item).items()}
    except CutError:
        return Back(id=item.id, problem="cut")
    return Back(id=item.id, texts=texts)


def _load(config: Seq2SeqConfig, device: torch.device) -> tuple[Any, Any]:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    source, called = config.source, f"--model {config.source.location}"
    told = {"revision": source.revision, "trust_remote_code": False}
    half = torch.bfloat16 if device.type == "cuda" else torch.float32
    with as_planned(source, called=called):
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.location, **told)
        except (OSError, ValueError, ImportError) as error:
            raise UserError(f"{called}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None
        model = load_whole(AutoModelForSeq2SeqLM, source.location, called=called, **told, dtype=half)
        model = model.eval().to(device)
        copy_from_files(model)
    if not hasattr(model.config, "max_position_embeddings") or not hasattr(tokenizer, "src_lang"):
        raise UserError(f"{called}: not a model of the NLLB-200 or M2M-100 kind")
    model.generation_config.max_length = None  # NLLB's 200; every call says its own
    return tokenizer, model
