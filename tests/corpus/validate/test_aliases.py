"""Spellings that no alias says are suggested, where matching does not count them by itself."""

import json
from pathlib import Path

import pytest

from xlharm.corpus.validate import suggestions


def corpus(folder: Path, forms: list[str], language: str) -> Path:
    item = {"id": "a", "role": "real", "real": "…", "qr": [{"question": "?", "answers": forms}]}
    (folder / f"{language}.jsonl").write_text(json.dumps(item) + "\n")
    (folder / "corpus.yaml").write_text(f"name: a\nversion: 1\nlicence: x\nlanguages: [{language}]\n")
    return folder


def test_a_plain_spelling_is_suggested_with_its_setting(tmp_path: Path) -> None:
    (line,) = suggestions(corpus(tmp_path, ["raƙumi", "doki"], "ha"))
    assert line == (
        "ha.jsonl: answers may also write 'raƙumi' as 'rakumi': add aliases, or let a grid count every such spelling: "
        "evaluate: {matching: {ha: [plain_letters]}}"
    )


def test_long_lists_are_cut(tmp_path: Path) -> None:
    (line,) = suggestions(corpus(tmp_path, [f"ƙ{c}ƙ" for c in "aceijlmn"], "ha"))
    assert "'ƙaƙ' as 'kak', " in line
    assert " and 2 more: add" in line


@pytest.mark.parametrize(
    ("forms", "language"),
    [
        (["raƙumi", "rakumi"], "ha"),
        (["babban raƙumi", "rakumi"], "ha"),  # an alias counts within it
        (["doki"], "ha"),
        (["Jäger"], "de"),  # Jaeger counts by default
    ],
)
def test_nothing_to_suggest(forms: list[str], language: str, tmp_path: Path) -> None:
    assert suggestions(corpus(tmp_path, forms, language)) == []
