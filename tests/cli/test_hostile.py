"""What somebody wrote into a corpus never acts on the terminal, and no input of others ends in a traceback."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Xlharm

HOSTILE = "\x1b]0;owned\x07\x1b[31m[/b] :smile: \u202e"
ITEM = {
    "id": f"a{HOSTILE}",
    "real": f"A horse ran by. {HOSTILE}",
    "fake": "A zebra ran by.",
    "fake_detail": "zebra",
    "of": "Which animal ran by?",
}


def _corpus(folder: Path, lines: list[str]) -> Path:
    folder.mkdir()
    (folder / "corpus.yaml").write_text("name: x\nversion: 1\nlicence: x\nlanguages: [en]\n")
    (folder / "en.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _is_plain(text: str) -> bool:
    return not any(character in text for character in ("\x1b", "\x07", "\u202e", "☺", "😄"))


def test_ids_texts_and_names_reach_the_terminal_as_text(xlharm_here: Xlharm, tmp_path: Path) -> None:
    folder = _corpus(tmp_path / "c[bold][_b]\x1b[31m", [json.dumps(ITEM), json.dumps({**ITEM, "id": "b", "of": []})])
    for arguments in (
        ("validate", folder),
        ("show", ITEM["id"], "--corpus", folder),
        ("show", "\x1b", "--corpus", folder),
    ):
        done = xlharm_here("data", *arguments)
        assert _is_plain(done.stdout + done.stderr), arguments
        assert "Traceback" not in done.stderr
        assert "<U+001B>" in done.stdout + done.stderr
    assert "[/b] :smile:" in xlharm_here("data", "validate", folder).stdout


def test_imports_of_hostile_names_and_texts(xlharm_here: Xlharm, tmp_path: Path) -> None:
    row = {"question": f"Who? {HOSTILE}", "answer": "x", "perturbed_answer": "y"}
    name = "rows[_b]\x1b[31m.jsonl"
    (tmp_path / name).write_text(json.dumps(row) + "\n" + json.dumps({"question": HOSTILE}))
    for arguments in ((name, "out"), (name, "out", "--fake", "answer"), (name, "out\x1b"), ("\x1b.csv", "out")):
        done = xlharm_here("data", "import", *arguments)
        assert _is_plain(done.stdout + done.stderr), arguments
        assert "Traceback" not in done.stderr
    assert (
        "rows: 2 read = 1 items + 1 left out" in xlharm_here("data", "import", name, "b[_b]", "--fake", "answer").stdout
    )


def test_one_line_for_a_kind_of_error_with_its_count(xlharm_here: Xlharm, tmp_path: Path) -> None:
    lines = [json.dumps({**ITEM, "id": f"i{i}", "real": 3 if i else "A horse."}) for i in range(300)]
    folder = _corpus(tmp_path / "many", lines)
    done = xlharm_here("data", "validate", folder)
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert errors == [
        "error: en.jsonl: i1: real: expected a text or a list of texts (and 298 more of this kind: i2, i3, i4, …)"
    ]
    assert "299 errors" in done.stdout
    every = xlharm_here("data", "validate", folder, "--all")
    assert sum(line.startswith("error: ") for line in every.stdout.splitlines()) == 299


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[" * 5000 + "]" * 5000, "line 1: not valid JSON: nested deeper than 64 levels"),
        ('{"id": "\\ud83d"}', "line 1: not valid JSON: half a character"),
        (
            json.dumps({"id": "a", "role": "real", "real": "x", "fake": "y"}),
            "a: fake: an item of role `real` has a fake",
        ),
        ('{"id": "a", "real": ' + "9" * 5000 + "}", "line 1: not valid JSON: a number of thousands of digits"),
        ("3", "line 1: "),
    ],
)
def test_items_that_cannot_be_read(xlharm_here: Xlharm, tmp_path: Path, line: str, message: str) -> None:
    done = xlharm_here("data", "validate", _corpus(tmp_path / "one", [line]))
    assert (done.returncode, done.stderr) == (2, "")
    assert message in done.stdout


def test_options_that_are_no_use(xlharm_here: Xlharm, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("question,answer,perturbed_answer\nWho?,x,y\n")
    (tmp_path / "tag.yaml").write_text("form: !!python/name:os.system x\n")
    for arguments, message in (
        (("import", "x.csv", "out", "--split", ""), "--split '': it has no such split"),
        (("import", "~nobody-of-this-name/x.csv", "out"), "no such file or folder"),
        (("import", "x" * 5000, "out"), "at most 255 bytes"),
        (("import", "x.csv", "out", "--mapping", "tag.yaml"), "tag.yaml: line 1: tag"),
        (("import", "x.csv", "out", "--mapping", "none.yaml"), "none.yaml: cannot be read: No such file"),
        (("import", "x.csv", "/dev/null/out", "--fake", "answer"), "/dev/null/out: cannot be written"),
        (("validate", "~nobody-of-this-name"), "neither a shipped corpus (bulletin"),
        (("show", "a", "--corpus", "x" * 300), "at most 255 bytes"),
    ):
        done = xlharm_here("data", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert message in done.stderr
