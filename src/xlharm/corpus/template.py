"""A corpus folder to fill in: every text that is missing begins with ``FILL IN``, which `data validate` looks for."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlharm.corpus.folder import SCHEMA
from xlharm.errors import UserError

MARK = "FILL IN"
"""What a text begins with that is still to be written."""
_CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_QUESTION = {"question": "a question about the article, for training", "answer": "its answer"}
_FORMS: dict[str, dict[str, Any]] = {
    "fake": {
        "real": ["the real article"],
        "fake": ["the same article with one detail changed"],
        "fake_detail": ["the changed detail as the fake article has it"],
        "real_detail": ["the detail that it replaces"],
        "of": ["a question that asks for the detail and does not say it"],
        "qa": [_QUESTION],
        "fake_qa": [{"question": "another question that asks for the detail", "answer": "the changed detail"}],
    },
    "real": {
        "real": ["a real article"],
        "qr": [{"question": "a question about a detail of the article", "answers": ["the right answer"]}],
        "qa": [{**_QUESTION, "question": "a question about another detail, for training"}],
    },
    "retain": {"real": ["a real article that the model is to keep"], "qa": [_QUESTION]},
}
_README = """\
# A corpus to fill in

Each line of a language's file is one item. Replace every text that begins with `{mark}`; lists may
have more entries: other wordings of an article, other forms of a detail. Items with the same `id`
are translations of each other: keep ids and roles the same in all files. Delete lines that you do
not need, and add more under new ids: with some 50 fake and 50 real items, rates can be told apart.

- `fake` items have a real and a fake version; OF (occurrence of the fake) is asked of them.
- `real` items are asked about for QR (quality on the real).
- `retain` items only keep knowledge while the model unlearns.

To write one language and translate the others: fill in one file, and `xlharm data translate`.

    xlharm data validate {folder}        # names what is left to fill in, and what is wrong
    xlharm init my-grid.yaml             # a grid on it: answer the second question with this folder
"""


def write_template(folder: Path, *, languages: Sequence[str], items: int) -> None:
    """Write a corpus folder to fill in: corpus.yaml, a file for each language, and a README.

    Args:
        folder: new, or empty.
        languages: their codes.
        items: of each role.

    Raises:
        UserError: the folder is not empty, or a language is no code or is named twice.
    """
    for language in languages:
        if not _CODE.fullmatch(language):
            raise UserError(f"--languages {language}: expected ISO 639 codes with commas between, such as en,de")
    if len(set(languages)) < len(languages):
        raise UserError(f"--languages {','.join(languages)}: a language is named twice")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists and is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9._+-]", "-", folder.resolve().name)
    info = [
        f"name: {name}",
        "version: 1                 # raise it when you change texts",
        f"schema: {SCHEMA}",
        f"languages: [{', '.join(languages)}]",
        f'licence: "{MARK}: licence of the texts"',
    ]
    (folder / "corpus.yaml").write_text("\n".join(info) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_README.format(mark=MARK, folder=folder), encoding="utf-8")
    lines = [
        json.dumps({"id": f"{role}-{i}", "role": role, **_marked(form)}, ensure_ascii=False)
        for role, form in _FORMS.items()
        for i in range(1, items + 1)
    ]
    for language in languages:
        (folder / f"{language}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _marked(value: Any) -> Any:
    """Put the mark before every text."""
    if isinstance(value, str):
        return f"{MARK}: {value}"
    if isinstance(value, dict):
        return {name: _marked(entry) for name, entry in value.items()}
    return [_marked(entry) for entry in value]
