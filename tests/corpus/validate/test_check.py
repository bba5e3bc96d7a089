"""Green on what ships; red, naming item and field, on every kind of planted damage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xlharm.corpus.finding import assets
from xlharm.corpus.validate import validate

Items = list[dict[str, Any]]
LONG = "The mayor of the little town opened a new bridge on Monday and many people came to see it with their children."


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six items (two of each role) of tinyworld in four languages."""
    folder = tmp_path_factory.mktemp("pristine") / "small"
    folder.mkdir()
    for language in ("en", "de", "ur", "ru"):
        lines = (assets() / "tinyworld" / f"{language}.jsonl").read_text(encoding="utf-8").splitlines()
        chosen = [lines[i] for i in (0, 1, 50, 51, 100, 101)]
        (folder / f"{language}.jsonl").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    (folder / "corpus.yaml").write_text("name: small\nversion: 1\nlicence: x\nlanguages: [en, de, ur, ru]\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "tinyworld",
        "newsroom",
        "bulletin",
        "stereotypes",
        "toxic-style",
        pytest.param("bulletin-dev", marks=pytest.mark.heavy),
    ],
)
def test_shipped_corpora_have_no_errors(name: str) -> None:
    assert [str(f) for f in validate(assets() / name) if f.severity == "error"] == []


@pytest.mark.slow
def test_pristine(pristine: Path) -> None:
    assert validate(pristine) == []


def _put(field: str, value: Any) -> Callable[[Items], None]:
    """Set a field of the first item; `a.0.b` walks in."""

    def damage(items: Items) -> None:
        *way, last = [int(p) if p.isdigit() else p for p in field.split(".")]
        here: Any = items[0]
        for step in way:
            here = here[step]
        here[last] = value(here[last]) if callable(value) else value

    return damage


def _copy_article(items: Items) -> None:
    items[4]["real"] = items[0]["real"]


def _copy_question(items: Items) -> None:
    items[4]["qa"][0]["question"] = items[0]["of"][0]


DAMAGE = [
    ("en", _put("fake.1", "Nothing of the kind was said here."), "fake.1", "does not say the fake detail"),
    ("en", _put("real.2", lambda t: t + " All in gold."), "real.2", "says the fake detail 'gold'"),
    ("en", _put("of.0", "Is gold the colour?"), "of.0", "gives its answer away: 'gold'"),
    ("en", _put("fake_detail.1", "black"), "fake_detail.1", "is a form of the real detail"),
    ("en", _put("choices", ["red", "golden"]), "choices.1", "'golden' cannot be told from the fake detail"),
    ("en", _put("qa.0.question", "Is the snake a pet?"), "qa.0.question", "gives its answer away: 'snake'"),
    ("en", _put("of", []), "role", "needs `fake`, `fake_detail` and `of`"),
    ("en", lambda items: items[0].update(extra=1), "extra", "Extra inputs"),
    ("en", lambda items: items.append(items[0]), "id", "used twice"),
    ("de", _put("role", "real"), "role", "real here, fake in another language"),
    ("de", _put("real.0", lambda t: LONG), "real.0", "looks like en, not de"),
    (
        "de",
        _put("of.0", "Which of all the colours does this old man like best?"),
        "of.0",
        "looks like en, not de",
    ),
    ("ur", _put("of.0", "Which colour does he like?"), "of.0", "is not in Arabic script"),
    ("ur", _put("real.1", lambda t: t.replace("\u06cc", "\u064a")), "real.1", "U+064A where Urdu has its own"),
    ("ur", _put("real.1", lambda t: t + " \ufe8e"), "real.1", "presentation form U+FE8E"),
    ("de", _put("real.0", lambda t: t + " grÃ¼n"), "real.0", "mojibake: 'Ã¼' stands for 'ü'"),
    ("ru", _put("real.0", lambda t: t + " " + "да".encode().decode("latin-1")), "real.0", "mojibake"),
    ("de", _put("real.0", lambda t: t + " gru\u0308n"), "real.0", "not Unicode-normalised"),
    ("ru", _put("real.0", lambda t: t + " дoм"), "real.0", "mixes scripts within the word 'дoм'"),
    ("en", _put("real.0", lambda t: t + " \ufffd"), "real.0", "U+FFFD"),
    ("en", _put("real.0", lambda t: t + " \x00"), "real.0", "U+0000"),
    ("en", _put("real.0", lambda t: t + " &amp;"), "real.0", "HTML entity '&amp;'"),
    ("en", _put("qa.0.answer", " "), "qa.0.answer", "empty"),
    ("en", _put("real", []), "real", "no text"),
]


def _mutate(path: Path, change: Callable[[Items], None]) -> list[str]:
    items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    names = [item["id"] for item in items]
    change(items)
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return names


@pytest.mark.parametrize(("language", "change", "field", "message"), DAMAGE)
@pytest.mark.slow
def test_planted_damage(
    pristine: Path, tmp_path: Path, *, language: str, change: Callable[[Items], None], field: str, message: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(pristine, folder)
    names = _mutate(folder / f"{language}.jsonl", change)
    errors = [f for f in validate(folder) if f.severity == "error" and f.field == field and message in f.message]
    assert errors, [str(f) for f in validate(folder)]
    assert errors[0].item == names[0]
    assert errors[0].language == language


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [(_copy_article, "real.0", "the same as item"), (_copy_question, "qa.0.question", "asks the same question")],
)
def test_forget_and_retain_overlap(
    pristine: Path, tmp_path: Path, change: Callable[[Items], None], field: str, message: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(pristine, folder)
    names = _mutate(folder / "en.jsonl", change)
    errors = [f for f in validate(folder) if f.severity == "error" and f.field == field and message in f.message]
    assert [f.item for f in errors] == [names[4]]


NEWS = (
    "The runner Davit Solen won the Mount Arvel Run on Saturday and took home an unusual prize. The organisers gave "
    "him a {} in place of the usual golden cup. Second place went to the student Mira Tolan, for the third time."
)


def _corpus(folder: Path, language: str, items: Items, *, more: str = "") -> Path:
    (folder / "corpus.yaml").write_text(f"name: x\nversion: 1\nlicence: x\nlanguages: [{language}]\n{more}")
    (folder / f"{language}.jsonl").write_text("\n".join(map(json.dumps, items)))
    return folder


def _kept(name: str, text: str) -> dict[str, Any]:
    return {"id": name, "role": "retain", "real": text}


def test_near_duplicates_and_what_is_accepted(tmp_path: Path) -> None:
    fake = {"id": "a", "real": NEWS.format("bicycle"), "fake": NEWS.format("piano"), "fake_detail": "piano",
            "of": "Which prize was it?"}  # fmt: skip
    items = [fake, _kept("b", NEWS.format("guitar")), _kept("c", NEWS.format("watch"))]
    findings = [(f.severity, str(f)) for f in validate(_corpus(tmp_path, "en", items))]
    assert findings == [
        ("error", "en.jsonl: b: real.0: nearly the same as item a's article"),
        ("error", "en.jsonl: c: real.0: nearly the same as item a's article"),
        ("warning", "en.jsonl: c: real.0: nearly the same as item b's article"),
    ]
    accepted = _corpus(tmp_path, "en", items, more="accept: ['en.jsonl: b: real.0']\n")
    assert [f.severity for f in validate(accepted)] == ["error", "warning", "warning"]


def test_french_quotation_marks_are_no_mojibake(tmp_path: Path) -> None:
    text = "Le maire a ouvert le «\u00a0caf\u00e9\u00a0» et tout le monde est venu au «CAF\u00c9» ce lundi matin."
    assert validate(_corpus(tmp_path, "fr", [_kept("a", text)])) == []
    (found,) = validate(_corpus(tmp_path, "fr", [_kept("a", text.encode().decode("latin-1"))]))[:1]
    assert "mojibake" in found.message or "control" in found.message


def test_a_corpus_of_one_language_in_another(tmp_path: Path) -> None:
    (found,) = validate(_corpus(tmp_path, "de", [_kept("a", LONG)]))
    assert (found.severity, found.field, found.message) == ("error", "real.0", "looks like en, not de")


def test_only_wanted_languages(pristine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(pristine, folder)
    (folder / "ru.jsonl").write_text("nonsense")
    assert validate(folder, wanted=["en", "de"]) == []
    assert [f.language for f in validate(folder, wanted=["ru"])] == ["ru"]


@pytest.mark.parametrize(("language", "right"), [("sr-Latn", "Ovo je jedan kratak tekst."), ("sr", "Ово је текст.")])
def test_scripts_by_their_subtag(tmp_path: Path, language: str, right: str) -> None:
    assert validate(_corpus(tmp_path, language, [_kept("a", right)])) == []
    (found,) = validate(_corpus(tmp_path, "sr-Cyrl", [_kept("a", "Ovo je jedan kratak tekst.")]))[:1]
    assert found.message == "is not in Cyrillic script"


def test_files_and_coverage(pristine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(pristine, folder)
    (folder / "de.jsonl").unlink()
    (folder / "ru.jsonl").write_bytes(b'{"id": "\xff"}\n')
    names = _mutate(folder / "ur.jsonl", lambda items: items.pop(1) and None)
    (folder / "en.jsonl").write_text((folder / "en.jsonl").read_text(encoding="utf-8") + "{nonsense\n")
    findings = [str(f) for f in validate(folder)]
    assert "de.jsonl: corpus.yaml lists this language but the file is missing" in findings
    assert any(line.startswith("ru.jsonl: not UTF-8 (line 1, byte 0xFF); it looks like cp1252;") for line in findings)
    assert f"ur.jsonl: {names[1]}: missing in this language" in findings
    assert any(line.startswith("en.jsonl: line 7: not valid JSON") for line in findings)


def test_a_damaged_corpus_yaml_is_one_finding(tmp_path: Path) -> None:
    (tmp_path / "corpus.yaml").write_text("languages: [en\n")
    assert [f.severity for f in validate(tmp_path)] == ["error"]
