"""What is in a folder stays; what is missing is known; what was made is noted without dates."""

import json
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from ruamel.yaml import YAML

from tests.corpus.translate.worlds import MANY, RIDERS, items_of, write_corpus
from xlharm.corpus.translate.backend import TranslationOutcome
from xlharm.corpus.translate.folder import Folder, Maker
from xlharm.corpus.validate import validate
from xlharm.errors import UserError

ONE: Maker = {"kind": "chat", "model": "one"}
OTHER: Maker = {"kind": "chat", "model": "other"}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "rides")


@pytest.fixture
def folder(corpus: Path, tmp_path: Path) -> Iterator[Folder]:
    opened = Folder(corpus, tmp_path / "out", languages=["ru"])
    yield opened
    opened.close()


def names(folder: Folder, maker: Maker = ONE, *, retry_failed: bool = False) -> list[tuple[str, int]]:
    return [(t.item.id, t.variant) for t in folder.pending("ru", maker=maker, retry_failed=retry_failed)]


def again(folder: Folder, corpus: Path) -> Folder:
    folder.close()
    return Folder(corpus, folder.path, languages=["ru"])


def test_what_is_made_is_there_next_time_and_noted(folder: Folder, corpus: Path) -> None:
    lina, _, odan = items_of("ru")
    assert names(folder) == [("ride-lina", 0), ("ride-mira", 0), ("ride-odan", 0)]
    folder.add("ru", TranslationOutcome(id=odan.id, item=odan), maker=ONE, variant=0)
    folder.add("ru", TranslationOutcome(id=lina.id, item=lina), maker=OTHER, variant=0)
    folder = again(folder, corpus)
    assert names(folder) == [("ride-mira", 0)]
    lines = (folder.path / "ru.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["ride-lina", "ride-odan"]  # in the order of the English
    meta = YAML(typ="safe").load((folder.path / "corpus.yaml").read_text())
    assert meta["languages"] == ["en", "ru"]
    assert meta["name"] == "out"
    assert meta["translations"] == {"ru": [{**ONE, "items": 1}, {**OTHER, "items": 1}]}
    assert (folder.path / "corpus.yaml").read_text().startswith("# rides, by hand")
    assert not [f for f in validate(folder.path) if "translate-report" in str(f)]
    folder.close()


def test_a_person_s_translation_stays_as_it_was_written(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "rides", languages=["en", "ru"])
    by_hand = corpus / "ru.jsonl"
    first = by_hand.read_text("utf-8").splitlines()[0].replace('", "', '",   "')
    by_hand.write_text(first, encoding="utf-8")  # one item of three, oddly spaced, without a line end
    before = (corpus / "corpus.yaml").read_text()
    for out in (tmp_path / "out", corpus):
        folder = Folder(corpus, out, languages=["ru"])
        assert names(folder) == [("ride-mira", 0), ("ride-odan", 0)]
        folder.close()
        assert (out / "ru.jsonl").read_text("utf-8").strip() == first
    assert (corpus / "corpus.yaml").read_text() == before
    folder = Folder(corpus, corpus, languages=["ru"])
    folder.add("ru", TranslationOutcome(id="ride-mira", item=items_of("ru")[1]), maker=ONE, variant=0)
    folder.close()
    assert by_hand.read_text("utf-8").splitlines()[0] == first
    assert "languages: [en, ru]" in (corpus / "corpus.yaml").read_text()


def test_failures_are_final_for_the_same_maker_and_the_same_english(folder: Folder, corpus: Path) -> None:
    folder.add("ru", TranslationOutcome(id="ride-lina", problem="refusal", reason="no"), maker=ONE, variant=0)
    folder.add("ru", TranslationOutcome(id="ride-mira", problem="unavailable", reason="HTTP 503"), maker=ONE, variant=0)
    folder = again(folder, corpus)
    assert names(folder) == [("ride-mira", 0), ("ride-odan", 0)]  # what was away may be back
    assert names(folder, retry_failed=True) == [("ride-lina", 1), ("ride-mira", 0), ("ride-odan", 0)]
    assert names(folder, OTHER)[0] == ("ride-lina", 0)
    text = (corpus / "en.jsonl").read_text().replace("a long day", "a very long day")
    (corpus / "en.jsonl").write_text(text)
    (folder.path / "en.jsonl").write_text(text)
    folder = again(folder, corpus)
    assert names(folder)[0] == ("ride-lina", 0)
    folder.close()


def test_a_failure_that_a_person_fills_is_none_and_a_line_taken_out_is_made_again(folder: Folder, corpus: Path) -> None:
    lina, mira, _ = items_of("ru")
    folder.add("ru", TranslationOutcome(id=lina.id, item=lina), maker=ONE, variant=0)
    folder.add("ru", TranslationOutcome(id=mira.id, problem="check", reason="x"), maker=ONE, variant=0)
    folder.save()
    (folder.path / "ru.jsonl").write_text(mira.model_dump_json() + "\n", encoding="utf-8")
    folder = again(folder, corpus)
    assert names(folder) == [("ride-lina", 0), ("ride-odan", 0)]
    assert folder.rows("ru", "made") == folder.rows("ru", "failed") == []
    folder.close()


def test_scores_are_asked_for_once(folder: Folder, corpus: Path) -> None:
    for item in items_of("ru"):
        folder.add("ru", TranslationOutcome(id=item.id, item=item), maker=ONE, variant=0)
    folder.score("ru", "ride-lina", chrf=61.25)
    folder.score("ru", "ride-mira", chrf=None, problem="refusal")
    folder.score("ru", "ride-odan", chrf=None, problem="unavailable")
    folder = again(folder, corpus)
    assert [item.id for item in folder.unscored("ru", retry_failed=False)] == ["ride-odan"]
    assert [item.id for item in folder.unscored("ru", retry_failed=True)] == ["ride-mira", "ride-odan"]
    assert [row.chrf for row in folder.rows("ru", "made")] == [61.25, None, None]
    folder.close()


def test_english_that_changed_is_told(folder: Folder, corpus: Path) -> None:
    folder.add("ru", TranslationOutcome(id="ride-lina", item=items_of("ru")[0]), maker=ONE, variant=0)
    folder.close()
    write_corpus(corpus, riders=[*RIDERS, *MANY])
    text = (corpus / "en.jsonl").read_text().replace("Lina rides a horse", "Lina rides the horse")
    (corpus / "en.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"out/en.jsonl: ride-lina: differs from .*copy that file here"):
        Folder(corpus, folder.path, languages=["ru"])
    (folder.path / "en.jsonl").write_text(text)
    folder = Folder(corpus, folder.path, languages=["ru"])
    assert folder.stale("ru") == ["ride-lina"]
    assert len(names(folder)) == 14  # the new ones and the old two
    folder.close()


def test_two_processes_do_not_write_at_once_and_other_folders_are_left_alone(folder: Folder, corpus: Path) -> None:
    with pytest.raises(UserError, match="another `xlharm data translate` is writing there"):
        Folder(corpus, folder.path, languages=["ru"])
    with pytest.raises(UserError, match="the folder exists and is not a corpus"):
        Folder(corpus, corpus.parent, languages=["ru"])
    (corpus / "corpus.yaml").write_text("languages: [ru]\n")
    with pytest.raises(UserError, match="translations are made from English"):
        Folder(corpus, corpus.parent / "new", languages=["ru"])


@pytest.mark.parametrize("name", ["ru.jsonl", "translate-report.jsonl", "corpus.yaml"])
def test_damaged_files_are_one_line(folder: Folder, corpus: Path, name: str) -> None:
    folder.close()
    (folder.path / name).write_text('{"id": "ride-li')
    with pytest.raises(UserError, match=name) as caught:
        Folder(corpus, folder.path, languages=["ru"])
    assert "\n" not in str(caught.value)


def test_a_saved_folder_is_read_and_never_written(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "rides")
    rows = [json.loads(line) for line in (corpus / "en.jsonl").read_text("utf-8").splitlines()]
    datasets.Dataset.from_list(rows).save_to_disk(str(corpus / "en"))
    (corpus / "en.jsonl").unlink()
    folder = Folder(corpus, tmp_path / "out", languages=["ru"])
    assert list(folder.english.values()) == items_of()
    assert len(names(folder)) == len(rows)
    folder.close()
    with pytest.raises(UserError, match="cannot add to a `save_to_disk` folder"):
        Folder(corpus, corpus, languages=["en"])
