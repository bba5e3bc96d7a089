"""The texts of a corpus in tokens."""

from dataclasses import replace
from pathlib import Path

import pytest

from xlharm.config.grid import Prompt
from xlharm.corpus.lengths import by_bytes, counter, text_sizes
from xlharm.plan.sources import BaseSource, CorpusSource

PROMPT = Prompt(question="{question}=", answer="{answer}\n")


def source(folder: Path) -> CorpusSource:
    return CorpusSource(name="mini", path=folder, digests=dict.fromkeys(("en", "de", "ur"), ""))


def test_lengths_are_means_of_each_language(mini_corpus: Path) -> None:
    sizes = text_sizes(source(mini_corpus), PROMPT, count=lambda text: float(len(text)))
    assert list(sizes) == ["en", "de", "ur"]
    # Which colour does Kabo like?=red\n and …=blue\n; a question has two wordings, one is asked, one is trained
    english = sizes["en"]
    assert english.pair == pytest.approx(1 + len("Which colour does Kabo like?=red\n"), abs=1)
    assert english.question == pytest.approx(1 + len("What is the colour of Kabo?="), abs=0.01)
    assert english.questions == 6  # three items have an OF question, three a QR question
    assert sizes["ur"].article < english.article


def test_the_bases_tokenizer_counts_and_bytes_where_there_is_none(mini_base: Path, tmp_path: Path) -> None:
    base = BaseSource(location=str(mini_base), revision=None, digest="d", size=0)
    assert counter(base)("Kabo likes the colour red.") < by_bytes("Kabo likes the colour red.") * 2
    assert counter(base)("") == 0
    assert counter(replace(base, location=str(tmp_path))) is by_bytes
    (tmp_path / "tokenizer.json").write_text("not json")
    assert counter(replace(base, location=str(tmp_path))) is by_bytes
    assert by_bytes("آب") == pytest.approx(4 / 3.5)


def test_a_damaged_language_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "en.jsonl").write_text("junk\n")
    assert text_sizes(source(tmp_path), PROMPT, count=by_bytes) == {}
