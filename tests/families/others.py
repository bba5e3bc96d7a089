"""Tiny random encoder-decoders and masked models, each with a small tokenizer of its own class."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.families.small import small_config, stirred
from xlharm.plan.families import MASKED

LANGUAGES = ("en", "de", "ur")
ENCODER_DECODERS = ("mt5", "t5", "bart", "nllb")
MASKS = ("bert", "xlm-roberta")
_METASPACE: Any = {"replacement": "▁", "prepend_scheme": "always"}


def other_base(kind: str, folder: Path, texts: Sequence[str]) -> Path:
    """Save a model of a type, whose tokenizer knows some texts, in a folder.

    Args:
        kind: ``nllb``, or a ``model_type``.
        folder: to be made.
        texts: what the tokenizer is trained on.
    """
    from transformers import AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    tokenizer = tokenizer_of(kind, texts)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    auto = AutoModelForMaskedLM if kind in MASKED else AutoModelForSeq2SeqLM
    model = auto.from_config(other_config(kind, tokenizer)).float().eval()
    stirred(model.requires_grad_(requires_grad=False)).save_pretrained(folder)
    return folder


def tokenizer_of(kind: str, texts: Sequence[str]) -> Any:
    """Train a tokenizer of a type's own class."""
    return _TOKENIZERS.get(kind, _sentencepiece)(texts)


def other_config(kind: str, tokenizer: Any) -> Any:
    """Return the configuration of a small model for a tokenizer."""
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    if "t5" in kind:
        own: dict[str, Any] = {"d_ff": 96, "d_kv": 16, "decoder_start_token_id": ids["pad_token_id"]}
    elif kind in MASKED:
        own = {"is_decoder": False}
    else:
        own = {"decoder_start_token_id": ids["eos_token_id"], "forced_eos_token_id": None, "init_std": 0.1}
    own |= {name: value for name, value in ids.items() if value is not None}
    return small_config("m2m_100" if kind == "nllb" else kind, **{"vocab_size": len(tokenizer), **own})


def _wordpiece(texts: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertTokenizer

    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer(lowercase=False)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    return BertTokenizer(vocab=json.loads(words.to_str())["model"]["vocab"], do_lower_case=False)


def _pieces(texts: Sequence[str], special: Sequence[str]) -> list[tuple[str, float]]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    words = Tokenizer(models.Unigram())
    words.pre_tokenizer = pre_tokenizers.Metaspace(**_METASPACE)
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=list(special), unk_token="<unk>", show_progress=False
    )
    words.train_from_iterator(texts, trainer)
    return [(str(piece), float(score)) for piece, score in json.loads(words.to_str())["model"]["vocab"]]


def _t5(texts: Sequence[str]) -> Any:
    from transformers import T5Tokenizer

    return T5Tokenizer(vocab=_pieces(texts, ["<pad>", "</s>", "<unk>"]), extra_ids=0)


def _sentencepiece(texts: Sequence[str]) -> Any:
    from transformers import XLMRobertaTokenizer

    return XLMRobertaTokenizer(vocab=_pieces(texts, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]))


def _bpe(texts: Sequence[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace(**_METASPACE, split=True)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    words.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False))
    model = json.loads(words.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _nllb(texts: Sequence[str]) -> Any:
    from transformers import NllbTokenizer

    vocab, merges = _bpe(texts)
    return NllbTokenizer(vocab=vocab, merges=merges)


_TOKENIZERS: dict[str, Any] = {"bert": _wordpiece, "t5": _t5, "mt5": _t5, "nllb": _nllb}
