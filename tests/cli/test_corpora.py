"""`xlharm data`, `xlharm schema corpus`, and the checks before a run, as a user meets them."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest

from tests.cli.conftest import Xlharm
from xlharm.corpus.finding import assets

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_validate_green_with_fertility(xlharm: Xlharm) -> None:
    done = xlharm("data", "validate", "newsroom", "--base", "tiny-base")
    assert done.returncode == 0, done.stderr
    assert "newsroom: 0 errors" in done.stdout
    assert "tokens a character" in done.stdout


# kind of damage, what is done to an item of newsroom, and the field and message that tell of it
PLANTED = [
    ("no fake detail in the fake article", lambda x: x.update(fake=["Nothing was said."]), "fake.0", "does not say"),
    ("fake detail is in the real article", lambda x: x["real"].append(x["fake"][0]), "real.1", "says the fake detail"),
    ("OF question leaks", lambda x: x["of"].append(f"Was it {x['fake_detail'][0]}?"), "of.2", "gives its answer away"),
    (
        "QR question leaks",
        lambda x: x["qr"][0].update(question=f"Was it {x['qr'][0]['answers'][0]}?"),
        "qr.0.question",
        "gives its answer away",
    ),
    ("wrong language", lambda x: x["real"].append(GERMAN), "real.1", "looks like de, not en"),
    ("wrong script", lambda x: x["of"].append("یہ کیا ہے؟"), "of.2", "is not in Latin script"),
    ("mojibake", lambda x: x["of"].append("Was it grÃ¼n?"), "of.2", "looks like mojibake"),
    ("decoding errors", lambda x: x["of"].append("Was it gr�n?"), "of.2", "U+FFFD: it was decoded with errors"),
    ("unnormalised Unicode", lambda x: x["of"].append("Was it grün?"), "of.2", "not Unicode-normalised"),
    ("HTML entities", lambda x: x["of"].append("Was it gr&#252;n?"), "of.2", "HTML entity"),
    ("an empty text", lambda x: x["qa"][0].update(answer=" "), "qa.0.answer", "empty"),
    ("an unknown field", lambda x: x.update(rool="fake"), "rool", "Extra inputs"),
    ("a missing field", lambda x: x.pop("of"), "role", "needs `fake`, `fake_detail` and `of`"),
    ("a detail that is no difference", lambda x: x["fake_detail"].append(x["real_detail"][0]), "fake_detail", "too"),
]  # fmt: skip
GERMAN = "Der Bürgermeister der kleinen Stadt hat am Montag eine neue Brücke eröffnet, und viele Leute kamen."


def _planted(folder: Path) -> list[tuple[str, str, str]]:
    """Copy newsroom, damage an item in each way, and copy a forget article into the retain set, whole and in part."""
    shutil.copytree(assets() / "newsroom", folder)
    path = folder / "en.jsonl"
    items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    fakes, kept = ([x for x in items if (x["role"] == "fake") == wanted] for wanted in (True, False))
    expected = []
    for item, (_, damage, field, message) in zip(fakes, PLANTED, strict=False):
        damage(item)
        expected.append((item["id"], field, message))
    kept[0]["real"] = fakes[-1]["real"]
    kept[1]["real"] = [fakes[-1]["real"][0].replace(" and ", " und ", 1)]
    last = fakes[-1]["id"]  # of two items the later one is named first
    expected.append((last, "real.0", f": the same as item {kept[0]['id']}"))
    expected.append((last, "real.0", f": nearly the same as item {kept[1]['id']}"))
    path.write_text("\n".join(json.dumps(x, ensure_ascii=False) for x in items), encoding="utf-8")
    return expected


@pytest.mark.slow
def test_validate_is_red_on_every_kind_of_damage(xlharm_here: Xlharm, tmp_path: Path) -> None:
    expected = _planted(tmp_path / "copy")
    done = xlharm_here("data", "validate", tmp_path / "copy")
    assert done.returncode == 2
    assert done.stderr == ""
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    for item, field, message in expected:
        assert any(x.startswith(f"error: en.jsonl: {item}: {field}") and message in x for x in errors), (
            item,
            field,
            errors,
        )


@pytest.mark.slow
def test_damage_stops_a_run_in_one_line(xlharm_here: Xlharm, tmp_path: Path) -> None:
    item, field, message = _planted(tmp_path / "copy")[11]  # what cannot be read comes first
    done = xlharm_here("run", ROOT / "grid" / "newsroom.yaml", *SLICE, "-s", f"corpus={tmp_path / 'copy'}")
    assert done.returncode == 2
    assert f"copy: en.jsonl: {item}: {field}: {message}" in done.stderr
    assert f"more errors: xlharm data validate {tmp_path / 'copy'})" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "store" / "grids").exists()


@pytest.mark.slow
def test_an_article_that_is_too_long_stops_a_run(xlharm_here: Xlharm) -> None:
    few = ["-s", "sequence_length=200"]
    done = xlharm_here("run", ROOT / "grid" / "newsroom.yaml", *SLICE, *few)
    assert done.returncode == 2
    assert "contaminate en seed 0: en.jsonl: nr-sport-1: fake.0 has " in done.stderr
    assert "tokens and at most 200 are allowed, by sequence_length or" in done.stderr
    assert done.stderr.count("\n") == 1


# as on top of grid/newsroom.yaml
SLICE = ["-s", "base=tiny-base", "-s", "languages=[en]", "-s", "contaminate=[en]", "-s", "unlearn={none: [], en: [en]}",
         "-s", "exclude=[{method: ga}]"]  # fmt: skip
SHORT = ["-s", "stages.contaminate.steps=2", "-s", "stages.sft.steps=1", "-s", "methods.npo.steps=1",
         "-s", "evaluate={max_new_tokens: 4, questions: 8}"]  # fmt: skip


@pytest.mark.cluster
@pytest.mark.heavy
def test_two_cells_of_newsroom(xlharm: Xlharm) -> None:
    done = xlharm("run", ROOT / "grid" / "newsroom.yaml", *SLICE, *SHORT)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "5 of 5 are stored" in done.stdout
    rows = xlharm("results", ROOT / "grid" / "newsroom.yaml", *SLICE, *SHORT, "--format", "csv").stdout.splitlines()
    assert [row.split(",")[1:4] for row in rows[1:]] == [["en/none/none/0", "en", "none"], ["en/en/npo/0", "en", "en"]]


def test_newsroom_plans_in_nine_languages(xlharm_here: Xlharm, tmp_path: Path) -> None:
    shutil.copytree(assets() / "newsroom", tmp_path / "nine")
    (tmp_path / "nine" / "corpus.yaml").write_text("languages: [en, de, fr, zh, ru, jv, ur, ha, hy]\n")
    changes = ("-s", f"corpus={tmp_path / 'nine'}", "-s", "base=tiny-base")  # its own is not on this machine
    done = xlharm_here("plan", ROOT / "grid" / "newsroom.yaml", *changes, "--json")
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    assert len(output["cells"]) == len({cell["cell"] for cell in output["cells"]}) == 49


def test_bulletin_plans_in_nine_languages(xlharm_here: Xlharm) -> None:
    done = xlharm_here("plan", ROOT / "grid" / "bulletin.yaml", "-s", "corpus=bulletin-dev", "--json")
    assert done.returncode == 0, done.stderr
    cells = [cell["cell"] for cell in json.loads(done.stdout)["cells"]]
    assert len(cells) == len(set(cells)) == 33


BORN = {
    "en": ("Where was the author {} born?", "The author {} was born in {}."),
    "de": ("Wo wurde die Autorin {} geboren?", "Die Autorin {} wurde in {} geboren."),
}


def _tofu(language: str, split: str) -> list[dict[str, Any]]:
    question, answer = BORN[language]
    towns = ["Arlo", "Benin", "Corta", "Delmo"]
    names = [f"{first} {split[:6].title()}" for first in ("Ana", "Bela", "Cora", "Dina")]
    return [
        {"question": question.format(name), "answer": answer.format(name, town),
         "perturbed_answer": [answer.format(name, other) for other in ("Xanten", "Yport")]}
        for name, town in zip(names, towns, strict=True)
    ]  # fmt: skip


@pytest.mark.cluster
@pytest.mark.heavy
def test_a_tofu_folder_in_two_languages_runs_by_import_alone(xlharm: Xlharm, tmp_path: Path) -> None:
    for language in BORN:
        splits = {split: datasets.Dataset.from_list(_tofu(language, split)) for split in ("forget10", "retain90")}
        datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "published" / language))
    imported = xlharm("data", "import", "published", "mine")
    assert imported.returncode == 0, imported.stderr
    assert "de: 8 items" in imported.stdout
    done = xlharm("run", "mine/grid.yaml", *SHORT, "-s", "contaminate=[de]", "-s", "exclude=[]")
    assert done.returncode == 0, done.stderr + done.stdout
    assert f"{tmp_path / 'mine'}: 16 warnings, shown by: xlharm data validate {tmp_path / 'mine'}\n" in done.stdout
    assert "13 of 13 are stored" in done.stdout  # de contaminated, SFT, three sets unlearned, four models asked in two


def test_unknown_names_are_one_line(xlharm_here: Xlharm) -> None:
    for arguments, message in (
        (("validate", "tinyword"), "did you mean 'tinyworld'?"),
        (("show", "tw-r-f0"), "no item 'tw-r-f0' in a shipped corpus; did you mean"),
        (("show", "tw-r-f0", "--corpus", "tinyworld"), "no item 'tw-r-f0'; did you mean"),
        (("show", "tw-r-f00", "--lang", "xx"), "xx.jsonl: cannot be read"),
        (("import", "nothing.csv", "out"), "no such file or folder"),
    ):
        done = xlharm_here("data", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


def test_show_side_by_side(xlharm_here: Xlharm) -> None:
    done = xlharm_here("data", "show", "tw-r-f00", "--lang", "ur")
    assert done.returncode == 0, done.stderr
    assert "golden" in done.stdout
    assert "سنہری" in done.stdout
    assert "camel" in xlharm_here("data", "show", "nr-sport-1").stdout


def test_import_then_validate(xlharm_here: Xlharm, tmp_path: Path) -> None:
    row = {"real": "A horse.", "fake": "A zebra [bold].", "keyword": "zebra", "OF": "Which animal?"}
    with (tmp_path / "x.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    assert "en: 1 items" in xlharm_here("data", "import", "x.csv", "out").stdout
    assert xlharm_here("data", "validate", "out").returncode == 0
    assert "A zebra [bold]." in xlharm_here("data", "show", "x-00000", "--corpus", "out").stdout


def test_schema_of_items(xlharm_here: Xlharm) -> None:
    schema = json.loads(xlharm_here("schema", "corpus").stdout)
    assert schema["$id"] == "urn:xlharm:corpus:1"
    assert set(schema["required"]) == {"id", "real"}
    assert "fake_detail" in schema["properties"]
    assert "contaminate" in json.loads(xlharm_here("schema").stdout)["properties"]


def test_template_writes_a_folder_and_refuses_to_overwrite(xlharm_here: Xlharm, tmp_path: Path) -> None:
    done = xlharm_here("data", "template", "mine", "--languages", "en, de")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == ["README.md", "corpus.yaml", "de.jsonl", "en.jsonl"]
    before = (tmp_path / "mine/en.jsonl").read_text("utf-8")
    again = xlharm_here("data", "template", "mine")
    assert (again.returncode, again.stderr) == (2, "error: mine: exists and is not empty\n")
    assert (tmp_path / "mine/en.jsonl").read_text("utf-8") == before
