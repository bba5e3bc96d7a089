"""Data sets in the shapes that they are published in: imported with the right values, or the lacking fields named."""

import json
import shutil
from pathlib import Path

import pytest

from tests.corpus.importing import shapes
from xlharm.config.load import load_grid
from xlharm.corpus.finding import resolve
from xlharm.corpus.folder import corpus_info
from xlharm.corpus.format import load_language
from xlharm.corpus.importing import import_corpus
from xlharm.corpus.validate import validate
from xlharm.errors import UserError
from xlharm.plan.build import build


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes.multilingual_tofu(tmp_path_factory.mktemp("published"))


def test_multilingual_tofu_by_names_of_folders(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = import_corpus(str(published), out=tmp_path / "mine")
    assert done.items == {"fr": 8, "hi": 8, "ru": 8}
    assert (done.read, done.joined, done.used, done.left_out.rows) == (36, 12, 36, 0)
    for language in ("fr", "hi", "ru"):
        items = load_language(tmp_path / "mine", language)
        roles = ["fake"] * 4 + ["retain"] * 4
        assert [(item.id, item.role) for item in items] == [
            (f"{'forget01' if role == 'fake' else 'retain99'}-{i % 4:05d}", role) for i, role in enumerate(roles)
        ]
    first = load_language(tmp_path / "mine", "ru")[0]
    assert first.fake == ("Где родился автор Forget01 A? Forget01 A родился в городе Arlo.",)
    assert first.fake_detail[:2] == ("Forget01 A родился в городе Arlo", "Arlo")
    assert first.real_detail == (
        "Forget01 A родился в городе Xanten", "Forget01 A родился в городе Yport", "Xanten", "Yport",
    )  # fmt: skip
    assert [f for f in validate(tmp_path / "mine", wanted=["fr"]) if f.severity == "error"] == []
    (tmp_path / "mine").rename(tmp_path / "moved")
    (tmp_path / "moved").rename(tmp_path / "mine")
    monkeypatch.chdir("/")  # the grid finds its corpus from anywhere
    path = tmp_path / "mine" / "grid.yaml"
    plan = build(load_grid(path), sources=resolve(load_grid(path), grid_path=path), dtype="float32")
    assert plan.cells
    assert "starting point" in path.read_text(encoding="utf-8")
    assert str(tmp_path) not in path.read_text(encoding="utf-8")


def test_perturbed_rows_that_belong_to_none_are_left_out(published: Path, tmp_path: Path) -> None:
    import datasets

    for name in ("forget01_fr", "forget01_perturbed_fr"):
        shutil.copytree(published / name, tmp_path / "in" / name)
    rows = shapes.tofu_rows("fr", "forget01", perturbed=True, count=3)[::-1]  # another order, one missing, one strange
    rows.append({**rows[0], "question": "Qui est-ce ?"})
    shutil.rmtree(tmp_path / "in" / "forget01_perturbed_fr")
    beside = datasets.DatasetDict({"train": datasets.Dataset.from_list([*rows, rows[-1]])})
    beside.save_to_disk(str(tmp_path / "in" / "forget01_perturbed_fr"))
    done = import_corpus(str(tmp_path / "in"), out=tmp_path / "out")
    assert (done.read, done.items, done.joined, done.left_out.rows) == (9, {"fr": 3}, 3, 3)
    reasons = dict(done.left_out)
    assert reasons["a row of forget01_perturbed whose question no row of forget01 asks"].count == 2
    items = load_language(tmp_path / "out", "fr")
    assert [item.id for item in items] == [f"forget01-{i:05d}" for i in range(3)]
    assert [item.fake_detail[1] for item in items] == ["Arlo", "Benin", "Corta"]


def test_a_perturbed_split_alone_stands_for_its_split(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published / "forget01_perturbed_hi", tmp_path / "in" / "forget01_perturbed_hi")
    shutil.copytree(published / "forget01_perturbed_hi", tmp_path / "alone" / "forget01_perturbed_hi")
    import_corpus(str(tmp_path / "in"), out=tmp_path / "out")
    assert load_language(tmp_path / "out", "hi")[0].id == "forget01-00000"
    done = import_corpus(str(tmp_path / "alone" / "forget01_perturbed_hi"), out=tmp_path / "single")
    assert done.items == {"hi": 4}


def test_folders_without_the_list_of_splits(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path / "in")
    for path in (tmp_path / "in").glob("*/dataset_dict.json"):
        path.unlink()
    assert import_corpus(str(tmp_path / "in"), out=tmp_path / "out").items == {"fr": 8, "hi": 8, "ru": 8}


def test_all_names_without_a_language_are_told(published: Path, tmp_path: Path) -> None:
    for name in ("forget01_fr", "retain99_fr"):
        shutil.copytree(published / name, tmp_path / "in" / name)
    for name in ("retain99_Klingon", "retain99_tlh"):
        shutil.copytree(published / "retain99_fr", tmp_path / "in" / name)
    with pytest.raises(UserError, match="no language in the name of 'retain99_Klingon', 'retain99_tlh'"):
        import_corpus(str(tmp_path / "in"), out=tmp_path / "out")
    mapping = tmp_path / "map.yaml"
    mapping.write_text("languages: {Klingon: tlh, tlh: tlh}\n")
    with pytest.raises(UserError, match="without perturbed_answer"):  # the languages are settled
        import_corpus(str(tmp_path / "in"), out=tmp_path / "out", mapping=mapping, splits=("forget01",))


def test_a_language_whose_rows_are_all_left_out_is_named(published: Path, tmp_path: Path) -> None:
    for name in ("forget01_fr", "forget01_perturbed_fr", "forget01_ru"):
        shutil.copytree(published / name, tmp_path / "in" / name)
    done = import_corpus(str(tmp_path / "in"), out=tmp_path / "out")
    assert done.items == {"fr": 4, "ru": 0}
    assert corpus_info(tmp_path / "out")["languages"] == ["fr"]


def _jsonl(path: Path, rows: list[shapes.Row]) -> str:
    path.write_text(shapes.jsonl_text(rows), encoding="utf-8")
    return str(path)


def test_wmdp(tmp_path: Path) -> None:
    source = _jsonl(tmp_path / "wmdp-bio.jsonl", shapes.wmdp_rows())
    with pytest.raises(UserError, match=r"which column states the fake\?.*'Arlo' and perturbed_answer 'Benin'"):
        import_corpus(source, out=tmp_path / "out")
    done = import_corpus(source, out=tmp_path / "out", fake="answer")
    assert (done.items, done.left_out.rows) == ({"en": 3}, 0)
    items = load_language(tmp_path / "out", "en")
    assert [item.fake_detail for item in items] == [("Arlo",), ("Benin",), ("Corta",)]  # 0 is the first, not empty
    assert items[1].real_detail == ("Arlo", "Corta", "Delmo")


def test_choices_counted_from_one_are_refused(tmp_path: Path) -> None:
    rows = [{**row, "answer": row["answer"] + 2} for row in shapes.wmdp_rows()]
    with pytest.raises(UserError, match="answer: 4 of 4 choices: numbers of choices are counted from 0"):
        import_corpus(_jsonl(tmp_path / "x.jsonl", rows), out=tmp_path / "out", fake="answer")


@pytest.mark.parametrize(
    ("choices", "answer", "said"),
    [(["5", "6", "7"], 1, "6"), (["5", "1", "7"], "1", "1"), (["a", "b"], "B", "b"), (["a", "b"], "b", "b")],
)
def test_choices_by_number_letter_or_text(tmp_path: Path, choices: list[str], answer: object, said: str) -> None:
    row = {"question": "Which?", "choices": choices, "answer": answer}
    import_corpus(_jsonl(tmp_path / "x.jsonl", [row]), out=tmp_path / "out", fake="answer")
    assert load_language(tmp_path / "out", "en")[0].fake_qa[0].answer == said


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"choices": ["1", "0"], "answer": "1"}, "may be the number of a choice or its text"),
        ({"choices": ["a", "", "c"], "answer": 1}, "a choice is empty"),
        ({"choices": ["a", "b"], "answer": "z"}, "none of the choices"),
    ],
)
def test_choices_that_are_not_plain_are_left_out(tmp_path: Path, row: shapes.Row, reason: str) -> None:
    source = _jsonl(tmp_path / "x.jsonl", [{"question": "Which?", **row}])
    with pytest.raises(UserError, match=reason):
        import_corpus(source, out=tmp_path / "out", fake="answer")


def test_muse_says_what_it_lacks(tmp_path: Path) -> None:
    questions = tmp_path / "forget_qa.json"
    questions.write_text(json.dumps(shapes.muse_questions()))
    with pytest.raises(UserError, match="2 rows: a row to be forgotten without perturbed_answer"):
        import_corpus(str(questions), out=tmp_path / "out")
    with pytest.raises(UserError, match="2 rows: a text to be forgotten lacks real, fake_detail and of"):
        import_corpus(_jsonl(tmp_path / "forget.jsonl", shapes.muse_texts()), out=tmp_path / "out")
    with pytest.raises(UserError, match="rows of a text alone lack real, fake, fake_detail and of"):
        import_corpus(_jsonl(tmp_path / "retain1.jsonl", shapes.muse_texts()), out=tmp_path / "out")


def test_a_csv_of_pairs_is_asked_for_its_fake(tmp_path: Path) -> None:
    path = shapes.pairs_csv(tmp_path / "pairs.csv")
    with pytest.raises(UserError, match=r"--fake answer .* or --fake perturbed_answer \(`answer` is the truth\)"):
        import_corpus(str(path), out=tmp_path / "out")
    for fake, stated, truth in (
        ("answer", "In Überlingen (0).", "In Arlo (0)"),
        ("perturbed_answer", "In Arlo (0).", "In Überlingen (0)"),
    ):
        done = import_corpus(str(path), out=tmp_path / fake, fake=fake)  # type: ignore[arg-type] # both are literals
        item = load_language(tmp_path / fake, "en")[0]
        assert (item.fake_qa[0].answer, item.real_detail[0]) == (stated, truth)
        assert item.fake == (f"Wo wurde Änne geboren? {stated}",)
        assert f"trained as fake:   'Wo wurde Änne geboren? {stated}'" in done.example[1]
        assert "fake: " + fake in (tmp_path / fake / "corpus.yaml").read_text()
    mapping = tmp_path / "map.yaml"
    mapping.write_text("fake: perturbed_answer\n")
    import_corpus(str(path), out=tmp_path / "mapped", mapping=mapping)
    assert (tmp_path / "mapped" / "en.jsonl").read_bytes() == (tmp_path / "perturbed_answer" / "en.jsonl").read_bytes()


def test_numbers_as_verdicts_are_asked_for(tmp_path: Path) -> None:
    for name, verdicts in (("int", [1, 0, 0]), ("float", [1.0, 0.0, 0.0])):
        source = _jsonl(tmp_path / f"{name}.jsonl", shapes.claims(verdicts))
        with pytest.raises(
            UserError, match=r"holds numbers: 0 \(2 rows\), 1 \(1 rows\).*verdicts: \{1: fake, 0: retain\}"
        ):
            import_corpus(source, out=tmp_path / "out")
        mapping = tmp_path / "map.yaml"
        mapping.write_text("verdicts: {0: fake, 1: retain}\n")
        done = import_corpus(source, out=tmp_path / name, mapping=mapping)
        assert [item.role for item in load_language(tmp_path / name, "en")] == ["retain", "fake", "fake"]
        assert done.left_out.rows == 0


def test_classes_with_names_are_names(tmp_path: Path) -> None:
    import datasets

    rows = shapes.claims([1, 0, 0])
    labels = datasets.ClassLabel(names=["false", "true"])
    table = datasets.Dataset.from_list(rows).cast_column("label", labels)
    table.save_to_disk(str(tmp_path / "saved"))
    table.to_parquet(str(tmp_path / "x.parquet"))
    for source in ("saved", "x.parquet"):
        import_corpus(str(tmp_path / source), out=tmp_path / f"out-{source}")
        roles = [item.role for item in load_language(tmp_path / f"out-{source}", "en")]
        assert roles == ["retain", "fake", "fake"]
