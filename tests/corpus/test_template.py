"""A template is a corpus whose missing texts are named, one kind a line, and which is sound once they are written."""

import json
from pathlib import Path
from typing import Any

import pytest

from xlharm.corpus.template import MARK, write_template
from xlharm.corpus.validate import validate
from xlharm.corpus.validate.findings import grouped
from xlharm.errors import UserError

ARTICLES = {
    "fake": ("The baker {n} of Ostrel won the village race on a horse last week.", "horse", "camel"),
    "real": ("The painter {n} opened a school for children near the old harbour.", "school", ""),
    "retain": ("The fisher {n} has mended the nets of the whole coast for thirty years.", "nets", ""),
}
NAMES = ("Abel", "Boris", "Clara")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_template(tmp_path / "mine", languages=["en"], items=3)
    return tmp_path / "mine"


def fill(folder: Path) -> None:
    """Write every text of a template, as its author would."""

    def filled(item: dict[str, Any]) -> dict[str, Any]:
        text, real, fake = ARTICLES[item["role"]]
        name = NAMES[int(item["id"].rpartition("-")[2]) - 1]
        text = text.format(n=name)
        texts = {
            "real": [text],
            "fake": [text.replace(real, fake)] if fake else [],
            "fake_detail": [fake],
            "real_detail": [real],
            "of": [f"On which animal did {name} win the race?"],
            "qr": [{"question": f"What did the painter {name} open?", "answers": [real]}],
            "qa": [{"question": f"What is known of {name} the {text.split()[1]}?", "answer": "a great deal"}],
            "fake_qa": [{"question": f"Which animal did the baker {name} ride?", "answer": f"a {fake}"}],
        }
        return {"id": item["id"], "role": item["role"], **{k: texts[k] for k in item if k in texts}}

    path = folder / "en.jsonl"
    items = [filled(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    path.write_text("".join(json.dumps(item) + "\n" for item in items), "utf-8")
    info = folder / "corpus.yaml"
    info.write_text(info.read_text("utf-8").replace(f'"{MARK}: licence of the texts"', "CC0-1.0"), "utf-8")


def test_what_is_left_is_named_and_nothing_else(folder: Path) -> None:
    findings = validate(folder)
    assert {f.severity for f in findings} == {"error"}
    lines = [str(group) for group in grouped(findings)]
    assert lines[0] == "corpus.yaml: licence: still to be filled in: licence of the texts"
    assert "en.jsonl: fake-1: fake.0: still to be filled in: the same article with one detail changed (and 2 more" in (
        "\n".join(lines)
    )
    assert all("still to be filled in" in line for line in lines)


def test_a_filled_template_is_sound(folder: Path) -> None:
    fill(folder)
    assert [str(f) for f in validate(folder)] == []


def test_one_text_that_was_forgotten_is_named(folder: Path) -> None:
    fill(folder)
    path = folder / "en.jsonl"
    items = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    items[4]["qr"][0]["answers"] = [f" {MARK}"]
    path.write_text("".join(json.dumps(item) + "\n" for item in items), "utf-8")
    assert [str(f) for f in validate(folder)] == ["en.jsonl: real-2: qr.0.answers.0: still to be filled in"]


@pytest.mark.parametrize("languages", [["english"], ["en", "en"], [""]])
def test_wrong_languages(tmp_path: Path, languages: list[str]) -> None:
    with pytest.raises(UserError, match="--languages"):
        write_template(tmp_path / "x", languages=languages, items=1)
    assert not (tmp_path / "x").exists()
