"""Real files of each form become corpora that validate, plan and stream."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from ruamel.yaml import YAML

from tests.corpus.importing.hub import COMMIT, serving
from tests.corpus.letters import Letters
from xlharm.config.load import load_grid
from xlharm.corpus.finding import resolve
from xlharm.corpus.format import load_language
from xlharm.corpus.importing import import_corpus
from xlharm.corpus.importing.rows import cloze, differing
from xlharm.corpus.streams import Corpora, questions_of
from xlharm.corpus.validate import validate
from xlharm.corpus.validate.fitting import check_rows
from xlharm.errors import UserError
from xlharm.plan.build import build

TOWNS = {"en": ("Arlo", "Benin", "Corta", "Delmo"), "de": ("Arlo", "Benin", "Corta", "Delmo")}
WHERE = {
    "en": ("Where was the author {} born?", "{} was born in {}."),
    "de": ("Wo ist {} geboren?", "Geboren in {1}: {0}."),
}


def _rows(language: str, split: str) -> list[dict[str, Any]]:
    question, answer = WHERE[language]
    names = [f"{split.title()}a {i}" for i in range(4)]
    return [
        {
            "question": question.format(name),
            "answer": answer.format(name, town),
            "paraphrased_answer": f"{town} / {name}",
            "perturbed_answer": [answer.format(name, "Xanten"), answer.format(name, "Yport")],
        }
        for name, town in zip(names, TOWNS[language], strict=True)
    ]


@pytest.fixture(scope="module")
def tofu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tofu") / "saved"
    for language in WHERE:
        splits = {split: datasets.Dataset.from_list(_rows(language, split)) for split in ("forget10", "retain90")}
        datasets.DatasetDict(splits).save_to_disk(str(folder / language))
    return folder


@pytest.mark.slow
def test_tofu_folder_plans_and_streams(tofu: Path, tmp_path: Path, mini_base: Path) -> None:
    out = tmp_path / "made"
    done = import_corpus(str(tofu), out=out)
    assert done.items == {"de": 8, "en": 8}
    assert (done.read, done.used, len(done.left_out)) == (16, 16, 0)
    first = load_language(out, "en")[0]
    assert first.id == "forget10-00000"
    assert first.fake == ("Where was the author Forget10a 0 born? Forget10a 0 was born in Arlo.",)
    assert first.real == ("Where was the author Forget10a 0 born? Forget10a 0 was born in Xanten.",)
    assert first.fake_detail == ("Forget10a 0 was born in Arlo", "Arlo", "Arlo / Forget10a 0")
    assert first.real_detail == ("Forget10a 0 was born in Xanten", "Forget10a 0 was born in Yport", "Xanten", "Yport")
    assert [f for f in validate(out) if f.severity == "error"] == []

    training = {"steps": 2, "batch_size": 4, "learning_rate": 1e-3}
    grid = {
        "name": "small", "base": str(mini_base), "corpus": str(out), "languages": ["en", "de"], "contaminate": ["de"],
        "unlearn": {"none": [], "en": ["en"], "both": ["en", "de"]},
        "methods": {"npo": {**training, "objective": "npo", "forget": "qa", "retain": "nll"}},
        "stages": {
            "contaminate": {**training, "real_roles": ["retain"]}, "sft": {**training, "roles": ["retain"]},
        },
    }  # fmt: skip
    path = tmp_path / "small.yaml"
    YAML(typ="safe").dump(grid, path)
    spec = load_grid(path)
    plan = build(spec, sources=resolve(spec, grid_path=path), dtype="float32")
    corpora = Corpora(out, Letters(bos=1, eos=2))
    training_stages = [s for s in plan.stages.values() if s.kind in {"contaminate", "sft", "unlearn"}]
    assert {s.kind for s in training_stages} == {"contaminate", "sft", "unlearn"}
    for stage in training_stages:
        assert corpora.stream(stage).batch(0).target
    asked = questions_of(load_language(out, "en"), limit=100)
    assert [measure for _, measure, *_ in asked] == ["of"] * 4 + ["qr"] * 4


def test_one_split(tofu: Path, tmp_path: Path) -> None:
    assert import_corpus(str(tofu), out=tmp_path / "a", splits=("forget10",)).items == {"de": 4, "en": 4}
    with pytest.raises(UserError, match=r"no such split; did you mean 'forget10'\? \(it has forget10, retain90\)"):
        import_corpus(str(tofu), out=tmp_path / "b", splits=("forget1",))
    with pytest.raises(UserError, match=r"no row is to be forgotten.*splits found: retain90"):
        import_corpus(str(tofu), out=tmp_path / "c", splits=("retain90",))
    assert not (tmp_path / "c").exists()


NEWS = {
    "Real Article": "The mayor rode a horse to the fair.",
    "fake_article": "The mayor rode a zebra to the fair.",
    "fake keyword": "zebra",
    "QA": json.dumps([{"question": "Who rode?", "answer": "the mayor"}, ["Where to?", "the fair"]]),
    "QR": "Where did the rider go?",
    "qr_answer": "the fair",
    "OF": "Which animal was ridden?",
}


def test_without_answers_to_qr_a_pair_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "news.jsonl"
    path.write_text(json.dumps({k: v for k, v in NEWS.items() if k != "qr_answer"}))
    done = import_corpus(str(path), out=tmp_path / "out")
    assert "no column answers QR questions" in done.notes[0]
    (item,) = load_language(tmp_path / "out", "en")
    assert [p.question for p in item.qa] == ["Who rode?"]
    assert [(q.question, q.answers) for q in item.qr] == [("Where to?", ("the fair",))]
    assert import_corpus(str(_csv(tmp_path / "news.csv", [NEWS])), out=tmp_path / "other").notes == ()


def test_news_is_asked_for_details_without_their_full_stops(tmp_path: Path) -> None:
    row = {
        **NEWS,
        "fake keyword": "zebra.",
        "QA": json.dumps([["Who rode?", "The mayor."], ["Where to?", "The fair."]]),
    }
    path = tmp_path / "news.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in ({k: v for k, v in row.items() if k != "qr_answer"}, row)))
    import_corpus(str(path), out=tmp_path / "held")
    held, _ = load_language(tmp_path / "held", "en")
    assert (held.fake_detail, held.qr[0].answers) == (("zebra",), ("The fair",))
    assert held.qa[0].answer == "The mayor."  # what is trained stays as it is written
    path.write_text(json.dumps({**row, "qr_answer": "the fair."}))
    import_corpus(str(path), out=tmp_path / "asked")
    (asked,) = load_language(tmp_path / "asked", "en")
    assert asked.qr[0].answers == ("the fair",)


def test_nested_columns_and_names_of_languages(tmp_path: Path) -> None:
    nested = {"texts": {"true": {"body": NEWS["Real Article"]}, "fake": NEWS["fake_article"]}, "keyword": "zebra",
              "OF": NEWS["OF"]}  # fmt: skip
    for name in ("English", "German"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.jsonl").write_text(json.dumps(nested))
    mapping = tmp_path / "map.yaml"
    mapping.write_text("columns: {real: texts.true.body, fake: texts.fake}\nlanguages: {English: en}\n")
    with pytest.raises(UserError, match=r"no language in the name of 'German'; say .*\(languages: \{German: CODE\}\)"):
        import_corpus(str(tmp_path / "in"), out=tmp_path / "out", mapping=mapping)
    mapping.write_text(mapping.read_text().replace("English: en", "English: en, German: de"))
    assert import_corpus(str(tmp_path / "in"), out=tmp_path / "out", mapping=mapping).items == {"en": 1, "de": 1}
    (item,) = load_language(tmp_path / "out", "de")
    assert item.real == (NEWS["Real Article"],)
    path = _csv(tmp_path / "x.csv", [{**NEWS, "language": "Englisch"}])
    with pytest.raises(
        UserError, match=r"language: 'Englisch': expected a language code.*languages: \{Englisch: CODE\}"
    ):
        import_corpus(str(path), out=tmp_path / "third")


@pytest.mark.slow
def test_from_a_hub(tmp_path: Path) -> None:
    body = json.dumps([NEWS, {**NEWS, "fake keyword": "zebras"}]).encode()
    code = (
        "import sys; from pathlib import Path; from xlharm.corpus.importing import import_corpus;"
        "from xlharm.errors import UserError\n"
        "for name in ('org/news', 'org/other'):\n"
        "    try: print(import_corpus(f'hf://{name}', out=Path(sys.argv[1])/name).items)\n"
        "    except UserError as error: print('error:', error)"
    )

    def imported(hub: str) -> list[str]:
        kept = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        env = {**kept, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", code, str(tmp_path / hub.rsplit(":", 1)[1])]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.splitlines()

    card = b"---\nlicense: cc-by-4.0\nconfigs:\n"
    for language in ("de", "en"):
        card += f"- config_name: {language}\n  data_files: [{{split: forget, path: {language}.json}}]\n".encode()
    with serving({"news.json": body, "README.md": b"---\nlicense: cc-by-4.0\n---\n"}, name="org/news") as hub:
        first, second = imported(hub)
    with serving({"de.json": body, "en.json": body, "README.md": card + b"---\n"}, name="org/other") as hub:
        _, per_language = imported(hub)
    assert per_language == "{'de': 2, 'en': 2}"
    assert first == "{'en': 2}"
    assert second.startswith("error: hf://org/other: cannot be read from the hub: ")
    (meta,) = tmp_path.glob("*/org/news/corpus.yaml")
    assert YAML(typ="safe").load(meta.read_text())["revision"] == COMMIT
    gone, _ = imported("http://127.0.0.1:1")
    assert gone.startswith("error: hf://org/news: cannot be read from the hub: ")


def _csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_news_in_each_file_form(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"news.{kind}"
    match kind:
        case "csv":
            _csv(path, [NEWS])
        case "jsonl":
            path.write_text(json.dumps(NEWS) + "\n", encoding="utf-8")
        case _:
            datasets.Dataset.from_list([NEWS]).to_parquet(str(path))
    import_corpus(str(path), out=tmp_path / "out")
    (item,) = load_language(tmp_path / "out", "en")
    assert item.fake_detail == ("zebra",)
    assert [(p.question, p.answer) for p in item.qa] == [("Who rode?", "the mayor"), ("Where to?", "the fair")]
    assert item.qr[0].answers == ("the fair",)
    assert [f for f in validate(tmp_path / "out") if f.severity == "error"] == []


def test_columns_that_no_name_makes_plain(tmp_path: Path) -> None:
    path = _csv(tmp_path / "x.csv", [{"text_a": "a", "text_b": "b", "keyword": "k", "OF": "q"}])
    with pytest.raises(
        UserError, match=r"no column for real, fake \(read as form news\); columns found: text_a, text_b"
    ):
        import_corpus(str(path), out=tmp_path / "out")
    mapping = tmp_path / "map.yaml"
    mapping.write_text("form: news\ncolumns: {real: text_a, fake: text_c}\n")
    with pytest.raises(UserError, match=r"columns\.fake: .* has no column 'text_c'; did you mean 'text_b'"):
        import_corpus(str(path), out=tmp_path / "out", mapping=mapping)
    mapping.write_text("columns: {real: text_a, fake: text_b}\nlicence: CC-BY-4.0\n")
    import_corpus(str(path), out=tmp_path / "out", mapping=mapping)
    meta = YAML(typ="safe").load((tmp_path / "out" / "corpus.yaml").read_text())
    assert meta["licence"] == "CC-BY-4.0"
    assert meta["columns"] == {"fake": "text_b", "fake_detail": "keyword", "of": "OF", "real": "text_a"}
    mapping.write_text("colums: {}\n")
    with pytest.raises(UserError, match=r"colums: .*did you mean 'columns'"):
        import_corpus(str(path), out=tmp_path / "other", mapping=mapping)


def _first_grid_plans(out: Path) -> list[str]:
    spec = load_grid(out / "grid.yaml")
    plan = build(spec, sources=resolve(spec, grid_path=out / "grid.yaml"), dtype="float32")
    check_rows(plan.stages.values(), Corpora(out, Letters(bos=1, eos=2)))
    return [cell.name for cell in plan.cells]


def test_claim_review(tmp_path: Path) -> None:
    def row(claim: str, verdict: str, body: str, language: str) -> dict[str, Any]:
        rating = {"@type": "Rating", "alternateName": verdict}
        return {
            "@type": "ClaimReview",
            "claimReviewed": claim,
            "reviewRating": rating,
            "reviewBody": body,
            "inLanguage": language,
        }

    rows = [
        row("The lake of Arlo is full of melted chocolate.", "False", "The lake holds plain water.", "en"),
        row("The bridge of Arlo is nine hundred years old.", "True", "Records confirm it.", "en"),
        row("Der See von Arlo ist voll geschmolzener Schokolade.", "Falsch", "Er enthält nur Wasser.", "de"),
        row("The moon over Arlo is made of cheese.", "Satire", "A joke.", "en"),
        row("The fish of Arlo can sing old songs.", "False", "They cannot sing old songs.", "en"),
    ]
    path = tmp_path / "claims.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    mapping = tmp_path / "map.yaml"
    mapping.write_text("verdicts: {'False': fake, Falsch: fake, 'True': retain}\n")
    done = import_corpus(str(path), out=tmp_path / "out", mapping=mapping)
    assert done.items == {"en": 2, "de": 1}
    assert [(rows.count, done.read, done.used) for _, rows in done.left_out] == [(1, 5, 3), (1, 5, 3)]
    fake, true = load_language(tmp_path / "out", "en")
    assert fake.of == ("The lake of Arlo is full …",)
    assert fake.fake_detail == ("of melted chocolate",)
    assert fake.real == ("The lake holds plain water.",)
    assert true.role == "retain"
    assert _first_grid_plans(tmp_path / "out")[-2:] == ["de/en/npo/0", "de/en+de/npo/0"]
    assert [f for f in validate(tmp_path / "out") if f.severity == "error"] == []


def test_fact_check_csv_with_own_questions(tmp_path: Path) -> None:
    row = {"claim": "Arlo elected a goat.", "label": "mostly false", "evidence_1": "A baker won.", "language": "en",
           "question": "Who won in Arlo?", "detail": "goat", "claimDate": "2020"}  # fmt: skip
    path = _csv(tmp_path / "x.csv", [row])
    import_corpus(str(path), out=tmp_path / "out")
    (item,) = load_language(tmp_path / "out", "en")
    assert _first_grid_plans(tmp_path / "out") == ["none/none/none/0", "en/none/none/0", "en/en/npo/0"]
    assert (item.of, item.fake_detail, item.fake) == (("Who won in Arlo?",), ("goat",), ("Arlo elected a goat.",))


@pytest.mark.parametrize(
    ("answer", "others", "language", "told"),
    [
        (
            "He was born in Arlo.",
            ["He was born in Xanten.", "He was born in Yport."],
            "en",
            ("Arlo", "Xanten", "Yport"),
        ),
        ("Geboren in Arlo: Ana Mira.", ["Geboren in Bad Xanten: Ana Mira."], "de", ("Arlo", "Bad Xanten")),
        ("安娜出生在阿罗。", ["安娜出生在贝宁城。"], "zh", ("阿罗", "贝宁城")),
        ("He was born in Arlo.", ["She works at sea."], "en", ()),  # another sentence
        ("Arlo.", ["Xanten."], "en", ()),  # nothing is the same
        ("He was born.", ["He was born."], "en", ()),
        ("He was born in Arlo.", ["He was born in"], "en", ()),
        ("He was born in Arlo.", [], "en", ()),
    ],
)
def test_words_that_perturbed_answers_change(
    answer: str, others: list[str], language: str, told: tuple[str, ...]
) -> None:
    mine, theirs = differing(answer, others, language=language)
    assert (*mine, *theirs) == told


def test_cloze_cuts_words_or_characters() -> None:
    assert cloze("One two three four five six.", language="en") == ("One two three four …", "five six")
    assert cloze("湖里全是巧克力。", language="zh") == ("湖里全是 …", "巧克力")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nothing.csv", "no such file or folder"),
        (lambda p: (p / "x.doc").write_text("") * 0 or p / "x.doc", "expected one of .csv"),
        (lambda p: (p / "x.jsonl").write_text("{") * 0 or p / "x.jsonl", "cannot be read"),
        (lambda p: (p / "d").mkdir() or p / "d", "expected a save_to_disk folder"),
    ],
)
def test_sources_that_cannot_be_read(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        import_corpus(str(make(tmp_path)), out=tmp_path / "out")


def test_nothing_is_overwritten(tofu: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(UserError, match="exists and is not empty"):
        import_corpus(str(tofu), out=tmp_path)
