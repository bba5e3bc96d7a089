"""Translation by a local model, NLLB-200 or M2M-100: sentence by sentence, in batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from xlharm.corpus.format import Item
from xlharm.corpus.translate.assemble import Translator, UnfinishedError, assembled, text_in, wanted
from xlharm.corpus.translate.backend import Back, TranslationOutcome, TranslationTask, scored_texts
from xlharm.corpus.translate.languages import token_of
from xlharm.corpus.translate.sentences import Piece, fitted, join, sentences
from xlharm.errors import StoppedError, UserError
from xlharm.parallel import threads_here
from xlharm.plan.sources import BaseSource
from xlharm.pretrained import as_planned, copy_from_files, load_whole

CHUNK = 8
"""Number of items that are translated together. Killing the process loses at most so many."""
_LONGEST = 512  # tokens; the longest texts that both model families were trained on


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig:
    """A translation model and how to run it.

    Attributes:
        source: location and digest of the model.
        device: device to run it on.
        batch: number of sentences in a batch; halved when memory runs out.
        beams: width of the beam search.
        codes: the model's own codes of languages that are not in the table of ``languages``.
        threads: number of CPU threads; None for all cores that the process may use.
    """

    source: BaseSource
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch: int = 32
    beams: int = 4
    codes: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None


class Seq2Seq:
    """A ``Backend`` that uses a local translation model.

    Raises:
        UserError: the model cannot be loaded (only safetensors weights are), or the device does not exist.
    """

    def __init__(self, config: Seq2SeqConfig, *, stopped: Callable[[], bool] = lambda: False) -> None:
        if config.device == "cuda" and not torch.cuda.is_available():
            raise UserError("--device cuda: this machine has no GPU")
        on_gpu = config.device != "cpu" and torch.cuda.is_available()
        if not on_gpu:
            torch.set_num_threads(threads_here(config.threads))
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._config, self._stopped, self._batch = config, stopped, config.batch
        self._tokenizer, self._model = _load(config, self._device)
        self._limit = min(_LONGEST, self._tokenizer.model_max_length, self._model.config.max_position_embeddings)
        self._kept: dict[tuple[str, str], dict[str, str | UnfinishedError]] = {}

    def make(self, tasks: Sequence[TranslationTask], *, language: str) -> Iterator[TranslationOutcome]:
        """Translate English items, a chunk at a time."""
        for start in range(0, len(tasks), CHUNK):
            items = [task.item for task in tasks[start : start + CHUNK]]
            translate = self._translator([s for item in items for s in wanted(item)], source="en", target=language)
            yield from (assembled(item, translate=translate, language=language) for item in items)

    def back(self, items: Sequence[Item], *, language: str) -> Iterator[Back]:
        """Translate the articles and questions of translated items back into English."""
        for start in range(0, len(items), CHUNK):
            some = items[start : start + CHUNK]
            texts = [text for item in some for text in scored_texts(item).values()]
            pieces = [piece.text for text in texts for piece in sentences(text)]
            translate = self._translator(pieces, source=language, target="en")
            yield from (_back(item, translate) for item in some)

    def _translator(self, texts: Sequence[str], *, source: str, target: str) -> Translator:
        """Translate sentences, each once, and return a function that returns their translations."""
        translations = self._kept.setdefault((source, target), {})
        fresh = [text for text in dict.fromkeys(texts) if text not in translations]
        translations.update(zip(fresh, self.translate(fresh, source=source, target=target), strict=True))

        def translate(text: str) -> str:
            translation = translations[text]
            if isinstance(translation, UnfinishedError):
                raise translation
            return translation

        return translate

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str | UnfinishedError]:
        """Translate sentences. A sentence that is too long for the model is cut between its clauses.

        Returns:
            For each sentence its translation, or an error if the model did not finish it.
        """
        tokens = self._tokenizer
        tokens.src_lang = self._code(source)
        parts = [fitted(text, limit=self._limit, count=self._count) for text in texts]
        flat = [piece.text for pieces in parts for piece in pieces]
        translations = dict(zip(flat, self._all(flat, target=self._token(target)), strict=True))
        return [_joined(text, pieces, translations, language=target) for text, pieces in zip(texts, parts, strict=True)]

    def _count(self, text: str) -> int:
        return len(self._tokenizer(text)["input_ids"])

    def _token(self, language: str) -> str:
        unknown = self._tokenizer.unk_token_id

        def known(token: str) -> bool:
            return bool(self._tokenizer.convert_tokens_to_ids(token) != unknown)

        return token_of(language, known=known, given=self._config.codes.get(language))

    def _code(self, language: str) -> str:
        """Return the tokenizer's code of a language. For M2M-100 it is the token without its underscores."""
        return self._token(language).strip("_")

    def _all(self, texts: Sequence[str], *, target: str) -> list[str | None]:
        """Translate texts that fit the model, in batches of similar length."""
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        translations: list[str | None] = [None] * len(texts)
        at = 0
        while at < len(order):
            if self._stopped():
                raise StoppedError("stopped")
            places = order[at : at + self._batch]
            try:
                batch = self._some([texts[i] for i in places], target=target)
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    raise
                self._batch = max(1, self._batch // 2)
                torch.cuda.empty_cache()
                continue
            for i, text in zip(places, batch, strict=True):
                translations[i] = text
            at += len(places)
        return translations

    @torch.inference_mode()
    def _some(self, texts: Sequence[str], *, target: str) -> list[str | None]:
        """Translate one batch; None for a text that the model did not finish."""
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
        answers = out[:, 2:]  # behind the start and the language
        ended = (answers == tokens.eos_token_id).any(1).tolist()
        decoded = tokens.batch_decode(answers, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [text.strip() if end else None for text, end in zip(decoded, ended, strict=True)]


def _joined(
    text: str, pieces: list[Piece], translations: Mapping[str, str | None], *, language: str
) -> str | UnfinishedError:
    parts = [translations[piece.text] for piece in pieces]
    whole = [Piece(t, piece.gap) for t, piece in zip(parts, pieces, strict=True) if t is not None]
    if len(whole) < len(pieces):
        return UnfinishedError(f"the model did not finish the translation of {text[:60]!r}")
    return join(whole, language=language)


def _back(item: Item, translate: Translator) -> Back:
    try:
        texts = {name: text_in(text, translate=translate, language="en") for name, text in scored_texts(item).items()}
    except UnfinishedError:
        return Back(id=item.id, problem="cut")
    return Back(id=item.id, texts=texts)


def _load(config: Seq2SeqConfig, device: torch.device) -> tuple[Any, Any]:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    source, called = config.source, f"--model {config.source.location}"
    where = {"revision": source.revision, "trust_remote_code": False}
    half = torch.bfloat16 if device.type == "cuda" else torch.float32
    with as_planned(source, called=called):
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.location, **where, split_special_tokens=True)
        except (OSError, ValueError, ImportError) as error:
            raise UserError(f"{called}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None
        model = load_whole(AutoModelForSeq2SeqLM, source.location, called=called, **where, dtype=half)
        model = model.eval().to(device)
        copy_from_files(model)
    if not hasattr(model.config, "max_position_embeddings") or not hasattr(tokenizer, "src_lang"):
        raise UserError(f"{called}: not an NLLB-200 or M2M-100 model")
    model.generation_config.max_length = None  # NLLB's is 200; every call gives its own limit
    return tokenizer, model
