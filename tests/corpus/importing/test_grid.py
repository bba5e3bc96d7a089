"""The first grid of an imported corpus: it says what it is, runs, and follows its corpus while nobody edits it."""

from pathlib import Path

import pytest

from tests.corpus.translate.worlds import items_of, write_corpus
from xlharm.config.load import load_grid
from xlharm.corpus.importing.grid import NAME, first_grid, grid_as_written, write_grid
from xlharm.corpus.translate.backend import TranslationOutcome
from xlharm.corpus.translate.folder import Folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = write_corpus(tmp_path / "rides")
    write_grid(folder, languages=["en"])
    return folder


def translated(corpus: Path, out: Path) -> Path | None:
    folder = Folder(corpus, out, languages=["ru"])
    for item in items_of("ru"):
        folder.add("ru", TranslationOutcome(id=item.id, item=item), maker={"kind": "chat"}, variant=0)
    folder.close()
    return folder.grid()


def test_it_says_that_its_rates_are_a_starting_point_and_finds_its_corpus_from_its_own_place(corpus: Path) -> None:
    text = (corpus / NAME).read_text(encoding="utf-8")
    assert "Rates and steps are a starting point" in text
    assert 'corpus: "../rides"' in text
    spec = load_grid(corpus / NAME)
    assert (spec.name, spec.languages, spec.contaminate) == ("rides", ("en",), ("none", "en"))


def test_it_gets_the_languages_that_its_corpus_was_translated_into(corpus: Path) -> None:
    assert translated(corpus, corpus) == corpus / NAME
    spec = load_grid(corpus / NAME)
    assert spec.languages == ("en", "ru")
    assert "ru" in spec.contaminate
    assert {"en", "source", "en+source"} <= set(spec.unlearn)
    assert translated(corpus, corpus) is None  # nothing more to write


def test_a_translation_into_another_folder_has_a_grid_of_its_own(corpus: Path, tmp_path: Path) -> None:
    before = (corpus / NAME).read_bytes()
    assert translated(corpus, tmp_path / "out") == tmp_path / "out" / NAME
    spec = load_grid(tmp_path / "out" / NAME)
    assert (spec.name, spec.languages) == ("out", ("en", "ru"))
    assert (corpus / NAME).read_bytes() == before


def test_a_grid_that_somebody_has_changed_stays(corpus: Path) -> None:
    path = corpus / NAME
    path.write_text(path.read_text(encoding="utf-8").replace("1e-4", "2e-4"), encoding="utf-8")
    before = path.read_bytes()
    assert not grid_as_written(corpus, languages=["en"])
    assert translated(corpus, corpus) is None
    assert path.read_bytes() == before


def test_a_corpus_without_a_grid_gets_none(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "rides")
    assert translated(corpus, corpus) is None
    assert not (corpus / NAME).exists()


def test_one_language_alone_is_its_own_source() -> None:
    assert "all:" not in first_grid({"ru": items_of("ru")}, folder="x")
