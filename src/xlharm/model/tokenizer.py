"""The base model's tokenizer. This module does not import torch, so that the command line can count tokens quickly."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlharm.errors import UserError
from xlharm.plan.sources import BaseSource


@dataclass(frozen=True)
class TextTokenizer:
    """A Hugging Face tokenizer with the small interface that rows need.

    Attributes:
        hf: the Hugging Face tokenizer.
        bos: id of the token that begins a sequence; None if there is none.
        eos: id of the token that ends a sequence; None if there is none.
    """

    hf: Any
    bos: int | None
    eos: int | None

    def encode(self, text: str) -> list[int]:
        """Return ids without special tokens."""
        return list(self.hf(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids, without special tokens."""
        return str(self.hf.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


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
    return TextTokenizer(hf=hf, bos=hf.bos_token_id, eos=hf.eos_token_id)


def light_tokenizer(source: BaseSource, *, trust_remote_code: bool = False) -> TextTokenizer:
    """Load the tokenizer quickly and without torch if the base model has a tokenizer.json, else as workers do.

    Raises:
        UserError: the tokenizer cannot be loaded.
    """
    from transformers import PreTrainedTokenizerFast

    try:
        hf = PreTrainedTokenizerFast.from_pretrained(source.location, revision=source.revision)
    except Exception:  # noqa: BLE001 - the full loader's error message is clearer than any that arises here
        return load_tokenizer(source, trust_remote_code=trust_remote_code)
    return TextTokenizer(hf=hf, bos=hf.bos_token_id, eos=hf.eos_token_id)


def positions(source: BaseSource) -> int | None:
    """Return the largest number of tokens of a sequence for the base model; None if its configuration does not say.

    Called before the tokenizer is loaded: if the hub does not answer, only this one file is waited for.

    Raises:
        UserError: there is no configuration, or the hub does not answer.
    """
    found = _configuration(source).get("max_position_embeddings")
    return found if isinstance(found, int) else None


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


def _configuration(source: BaseSource) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    path = Path(source.location) / "config.json"
    try:
        if not path.is_file():
            path = Path(hf_hub_download(source.location, "config.json", revision=source.revision))
        config = json.loads(path.read_text(encoding="utf-8"))
    except Exception as error:  # noqa: BLE001 - the hub's client also raises the errors of its HTTP client
        raise UserError(f"base {source.location}: configuration: {_line(error)}") from None
    return {**config.get("text_config", {}), **config}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
