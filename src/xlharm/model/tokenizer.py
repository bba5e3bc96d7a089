"""The base model's tokenizer. This module does not import torch, so that the command line can count tokens quickly."""

import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from xlharm.config.grid import Prompt
from xlharm.corpus.rows import Frame, Template
from xlharm.corpus.translate.languages import token_of
from xlharm.errors import UserError
from xlharm.model.chat import chat_parts
from xlharm.model.guarded import GuardedEncoder, control_tokens
from xlharm.plan import families
from xlharm.plan.families import Kind
from xlharm.plan.sources import BaseSource


class TextTokenizer:
    """A base's tokenizer with the small interface that rows need.

    Args:
        hf: the Hugging Face tokenizer.
        ends: ids of tokens that end an answer, as the base's configuration names them.
        kind: kind of the base.
        begins: id that the decoder of an encoder-decoder begins with.

    Attributes:
        hf: the Hugging Face tokenizer.
        kind: kind of the base.
        mask: id of the token that stands for a masked one; -1 if there is none.
        eos: id of the token that ends a sequence; None if there is none.
        ends: ids of tokens that end an answer: ``eos``, and those that the base's configuration names.
    """

    def __init__(self, hf: Any, *, ends: Iterable[int] = (), kind: Kind = "causal", begins: int | None = None) -> None:
        self.hf = hf
        self.kind: Kind = kind
        self.mask: int = -1 if hf.mask_token_id is None else hf.mask_token_id
        self._begins = begins
        self._frames: dict[str, Frame] = {}
        self.eos: int | None = hf.eos_token_id
        self.ends = frozenset(ends) | (frozenset() if self.eos is None else {self.eos})
        self._templates: dict[Prompt, Template] = {}

    @cached_property
    def controls(self) -> dict[str, int]:
        """Tokens that no text produces, as content and id."""
        return control_tokens(self.hf, ends=self.ends)

    @cached_property
    def _encoder(self) -> GuardedEncoder:
        return GuardedEncoder(self.hf, self.controls)

    def encode(self, *parts: str) -> list[int]:
        """Return the ids of a template and texts in turns, the template first; control tokens in texts are split.

        Raises:
            UserError: a text holds a control token that this tokenizer cannot read as text.
        """
        return self._encoder.encode(*parts)

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids, without special tokens."""
        return str(self.hf.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    @cached_property
    def pieces(self) -> list[str]:
        """The text of each token alone, by id."""
        return list(self.hf.batch_decode([[number] for number in range(len(self.hf))]))

    def template(self, prompt: Prompt) -> Template:
        """Return how questions and answers are written.

        Raises:
            UserError: there is no chat template, or it refuses the system prompt; there is no token to begin with.
        """
        if prompt not in self._templates:
            self._templates[prompt] = self._template(prompt)
        return self._templates[prompt]

    def _template(self, prompt: Prompt) -> Template:
        head, chat = self._head(prompt.bos), prompt.template == "chat"
        question, answer = chat_parts(self.hf, system=prompt.system) if chat else (prompt.asked, prompt.answered)
        closing = self._controls_in(answer[1])
        known = self.hf.added_tokens_decoder
        opening = {number for number in self._controls_in(*question) if known[number].special}
        stop = self._encoder.before_controls(answer[1])
        return Template(
            head=head,
            question_head=() if chat else head,
            question=question,
            answer=answer,
            trimmed=chat,
            closing=closing,
            stop=stop if stop.strip(" \t") else "",
            stops=self.ends | closing | opening,
        )

    def _controls_in(self, *parts: str) -> frozenset[int]:
        return frozenset(self.controls.values()).intersection(self.encode(" ".join(parts)))

    def frame(self, language: str) -> Frame:
        """Return what is around a sequence in a language, for models that are not causal.

        It is what the tokenizer itself puts there: before and after a text that is read, and before one that is
        written, which the decoder is given.

        Raises:
            UserError: the tokenizer has tokens for languages, and none for this one.
        """
        if language not in self._frames:
            self._frames[language] = self._framed(language)
        return self._frames[language]

    def _framed(self, language: str) -> Frame:
        code = self._code(language)
        if code is not None:
            self.hf.src_lang = code
        head, tail = self._around(self.hf("a")["input_ids"])
        if self.kind == "masked":
            return Frame(head=head, tail=tail)
        if code is not None:
            self.hf.tgt_lang = code
        written, _ = self._around(self.hf(text_target="a")["input_ids"])
        begun = written if self._begins is None else (self._begins, *written)
        return Frame(head=head, tail=tail, begun=begun)

    def _code(self, language: str) -> str | None:
        """Return the tokenizer's own code of a language; None if it has no codes.

        Raises:
            UserError: it has no code for this language.
        """
        if not hasattr(self.hf, "src_lang"):
            return None
        for token in self.hf.get_added_vocab():
            if re.fullmatch(rf"{re.escape(language)}_[A-Z]{{2}}", token):  # mBART: de_DE
                return str(token)
        unknown = self.hf.unk_token_id
        try:
            token = token_of(language, known=lambda token: bool(self.hf.convert_tokens_to_ids(token) != unknown))
        except UserError:
            raise UserError(f"base: its tokenizer has tokens for languages, and none for {language!r}") from None
        return token.strip("_")

    def _around(self, ids: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the ids before and after those of the text `a`.

        Raises:
            UserError: they do not hold the text's own.
        """
        plain = self.hf("a", add_special_tokens=False)["input_ids"]
        begin = next((k for k in range(len(ids)) if plain and ids[k : k + len(plain)] == plain), None)
        if begin is None:
            raise UserError(
                f"base: its tokenizer reads `a` as {plain} alone and as {ids} in a sequence, so it is not known what "
                "it puts around a text"
            )
        return tuple(ids[:begin]), tuple(ids[begin + len(plain) :])

    def _head(self, bos: bool | None) -> tuple[int, ...]:
        """Return the ids that a sequence begins with: by default those that the tokenizer puts there."""
        if bos is None:
            plain, full = (self.hf("a", add_special_tokens=on)["input_ids"] for on in (False, True))
            begins = (k for k in range(len(full)) if full[k : k + len(plain)] == plain)
            return tuple(full[: next(begins, 0)])
        if bos and self.hf.bos_token_id is None:
            raise UserError("prompt.bos: the base's tokenizer has no token that begins a sequence")
        return (self.hf.bos_token_id,) if bos else ()


def load_tokenizer(source: BaseSource, *, trust_remote_code: bool = False) -> TextTokenizer:
    """Load the base model's tokenizer.

    Raises:
        UserError: the tokenizer cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        hf = AutoTokenizer.from_pretrained(
            source.location, revision=source.revision, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # noqa: BLE001 - damaged files make the libraries raise errors of any class
        raise UserError(f"base {source.location}: tokenizer: {_line(error)}") from None
    if source.kind == "masked" and hf.mask_token_id is None:
        raise UserError(f"base {source.location}: tokenizer: it has no token for what is masked")
    return TextTokenizer(hf, ends=_ends(source), kind=source.kind, begins=_begins(source))


def light_tokenizer(source: BaseSource, *, trust_remote_code: bool = False) -> TextTokenizer:
    """Load the tokenizer quickly and without torch if the base model is causal and has a tokenizer.json.

    Else as workers do: what is around texts depends on the tokenizer's own class.

    Raises:
        UserError: the tokenizer cannot be loaded.
    """
    if source.kind != "causal":
        return load_tokenizer(source, trust_remote_code=trust_remote_code)
    from transformers import PreTrainedTokenizerFast

    try:
        hf = PreTrainedTokenizerFast.from_pretrained(source.location, revision=source.revision)
    except Exception:  # noqa: BLE001 - the full loader's error message is clearer than any that arises here
        return load_tokenizer(source, trust_remote_code=trust_remote_code)
    return TextTokenizer(hf, ends=_ends(source))


def tokenizer_at_hand(source: BaseSource) -> TextTokenizer | None:
    """Return the tokenizer if its files are on this machine and no code of the base must run; else None."""
    from transformers import PreTrainedTokenizerFast

    try:
        hf = PreTrainedTokenizerFast.from_pretrained(source.location, revision=source.revision, local_files_only=True)
    except Exception:  # noqa: BLE001 - whoever must have the tokenizer loads it in another way and reports the error
        return None
    return TextTokenizer(hf)


def positions(source: BaseSource) -> int | None:
    """Return the largest number of tokens of a sequence for the base model; None if its configuration does not say.

    Called before the tokenizer is loaded: if the hub does not answer, only this one file is waited for.

    Raises:
        UserError: there is no configuration, or the hub does not answer.
    """
    return families.row_limit(_configuration(source))


def check_vocabulary(tokenizer: TextTokenizer, *, size: int | None, source: BaseSource) -> None:
    """Make sure that the base has an embedding for every token.

    Args:
        tokenizer: the base's.
        size: embeddings of the base; None takes what its configuration says.
        source: the base.

    Raises:
        UserError: there are more tokens, or there is no configuration.
    """
    rows = _configuration(source).get("vocab_size") if size is None else size
    highest = max(tokenizer.hf.get_vocab().values(), default=0)
    if isinstance(rows, int) and highest >= rows:
        word = tokenizer.hf.convert_ids_to_tokens(highest)
        raise UserError(
            f"base {source.location}: tokenizer: {word!r} has the id {highest}, but the model has {rows} embeddings"
        )


def _ends(source: BaseSource) -> list[int]:
    """Return the ids that end what a base generates: of generation_config.json, and without it of config.json."""
    ends = _generation(source).get("eos_token_id")
    return [end for end in (ends if isinstance(ends, list) else [ends]) if isinstance(end, int)]


def _generation(source: BaseSource) -> dict[str, Any]:
    """Return what a base's files say about generation: generation_config.json, and without it config.json."""
    try:
        return _json_file(source, "generation_config.json")
    except FileNotFoundError:
        return _configuration(source)
    except Exception as error:  # noqa: BLE001 - the hub's client also raises the errors of its HTTP client
        raise UserError(f"base {source.location}: generation_config.json: {_line(error)}") from None


def _begins(source: BaseSource) -> int | None:
    """Return the id that a decoder begins with: of generation_config.json, and without it of config.json."""
    if source.kind != "encoder-decoder":
        return None
    for settings in (_generation(source), _configuration(source)):
        for name in ("decoder_start_token_id", "bos_token_id"):
            if isinstance(begin := settings.get(name), int):
                return begin
    raise UserError(f"base {source.location}: its configuration has no `decoder_start_token_id`")


def _configuration(source: BaseSource) -> dict[str, Any]:
    try:
        config = _json_file(source, "config.json")
    except Exception as error:  # noqa: BLE001 - the hub's client also raises the errors of its HTTP client
        raise UserError(f"base {source.location}: configuration: {_line(error)}") from None
    if not isinstance(config, dict):
        raise UserError(f"base {source.location}: configuration: config.json: expected a JSON object")
    text_config = config.get("text_config")
    return {**(text_config if isinstance(text_config, dict) else {}), **config}


def _json_file(source: BaseSource, name: str) -> dict[str, Any]:
    """Read a JSON object of a base's folder or hub repository.

    Raises:
        FileNotFoundError: there is no such file, or it is not in the cache and the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    path = Path(source.location) / name
    if not path.parent.is_dir():
        try:
            path = Path(hf_hub_download(source.location, name, revision=source.revision))
        except EntryNotFoundError as error:
            raise FileNotFoundError(str(error)) from None
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("expected a JSON object")
    return content


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
