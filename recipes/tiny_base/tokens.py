"""The tiny base's tokenizer, and its training documents as one array of ids."""

from __future__ import annotations

import os
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from documents import Mix, Writer
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from xlharm.corpus.tinyworld import LANGUAGES
from xlharm.corpus.tinyworld.language import load
from xlharm.corpus.tinyworld.names import SYLLABLES, spell

BOS, EOS, PAD = 0, 1, 2
# Han characters stand alone; a word takes its leading space; marks stay with their letters.
PATTERN = r"\p{Han}| ?(?:(?!\p{Han})[\p{L}\p{M}])+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s"
_TEMPLATE_REPEATS, _VALUE_REPEATS, _SYLLABLE_REPEATS = 60, 20, 400


def train_tokenizer(path: Path, *, vocabulary: int) -> Tokenizer:
    """Train a byte-level BPE on the world's templates, values and syllables, and save it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=10,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    tokenizer.save(str(path))
    return tokenizer


def _texts() -> list[str]:
    texts = ["Q: •\nA: •\n", " (•) = •"] * 500
    for code in LANGUAGES:
        language = load(code)
        templates = [t for forms in (*language.statements.values(), *language.questions.values()) for t in forms]
        texts += [t.replace("{e}", "•").replace("{v}", "•") for t in templates] * _TEMPLATE_REPEATS
        for words in language.values.values():
            texts += [f"• {forms[0]} •{forms[0]}" for forms in words.values()] * _VALUE_REPEATS
    for code in ("en", "ru", "hy", "ur", "zh"):
        texts += [_syllables(code)] * _SYLLABLE_REPEATS
    return texts


def _syllables(code: str) -> str:
    """Every syllable at the beginning of a word and inside of one."""
    names = [spell(((i,),), code) for i in range(len(SYLLABLES))]
    return " ".join(f"{n}-{n.lower()}-{n}" for n in names)


def encode_documents(job: tuple[str, int, int, int, Mix]) -> np.ndarray:
    """Write and encode documents until there are enough tokens (one process's share)."""
    path, seed, tokens, count, mix = job
    tokenizer = Tokenizer.from_file(path)
    writer = Writer(seed=seed, count=count, mix=mix)
    ids = np.empty(tokens + 100_000, np.uint16)
    filled = 0
    while filled < tokens:
        texts = [t for t in (writer.document() for _ in range(512)) if t]
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            piece = [BOS, *encoding.ids, EOS]
            ids[filled : filled + len(piece)] = piece
            filled += len(piece)
    return ids[:tokens]


def corpus(path: Path, *, tokens: int, entities: int, mix: Mix, processes: int) -> np.ndarray:
    """Return about ``tokens`` ids of documents, made by several processes."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    share = tokens // processes
    jobs = [(str(path), 1000 + i, share, entities, mix) for i in range(processes)]
    with get_context("fork").Pool(processes) as pool:
        return np.concatenate(pool.map(encode_documents, jobs))
