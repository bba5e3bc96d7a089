"""A language is read alike from a JSONL file and from a folder that `datasets` saved; the schema says what is read."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from jsonschema import Draft202012Validator

from xlharm.corpus.finding import assets
from xlharm.corpus.folder import language_digest
from xlharm.corpus.format import Item, load_language
from xlharm.corpus.validate import validate
from xlharm.errors import UserError

FAKE = {
    "id": "a",
    "real": "A horse ran by.",
    "fake": "A zebra ran by.",
    "fake_detail": ["zebra", "zebras"],
    "of": "Which animal ran by?",
    "qr": [{"question": "What did it do?", "answers": ["ran", "run"]}],
}
KEPT = {"id": "b", "role": "retain", "real": ["It rained.\u2028All day."], "qa": [{"question": "Who?", "answer": "It"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "corpus.yaml").write_text("name: x\nversion: 1\nschema: 1\nlicence: x\nlanguages: [en]\n")
    lines = [json.dumps(row, ensure_ascii=False) for row in (FAKE, KEPT)]
    (tmp_path / "en.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def _save(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "en.jsonl").read_text(encoding="utf-8").split("\n")]
    names = dict.fromkeys(name for row in rows for name in row)  # from_list takes the first row's columns alone
    rows = [{**dict.fromkeys(names), **row} for row in rows]
    rows = [{**row, "real": row["real"] if isinstance(row["real"], list) else [row["real"]]} for row in rows]
    datasets.Dataset.from_list(rows).save_to_disk(str(folder / "en"))


def test_a_saved_folder_is_read_as_the_file(folder: Path) -> None:
    from_file = load_language(folder, "en")
    assert from_file[1].real == ("It rained.\u2028All day.",)
    _save(folder)
    with pytest.raises(UserError, match=r"en\.jsonl and the folder en/ are both there"):
        load_language(folder, "en")
    (folder / "en.jsonl").unlink()
    assert load_language(folder, "en") == from_file
    assert [f for f in validate(folder) if f.severity == "error"] == []
    before = language_digest(folder / "en")
    table = next((folder / "en").glob("*.arrow"))
    table.write_bytes(table.read_bytes().replace(b"horse", b"goose"))
    assert language_digest(folder / "en") != before
    (folder / "en" / "state.json").write_text("[]")
    with pytest.raises(UserError, match=r"^[^:]*en/state\.json: is not what save_to_disk writes"):
        load_language(folder, "en")


def test_the_schema_takes_what_the_reader_takes() -> None:
    schema: dict[str, Any] = Item.model_json_schema()
    Draft202012Validator.check_schema(schema)
    checker = Draft202012Validator(schema)
    assert schema["$id"] == "urn:xlharm:corpus:1"
    shipped = [
        (assets() / name / "en.jsonl").read_text(encoding="utf-8") for name in ("bulletin", "newsroom", "tinyworld")
    ]
    for row in (FAKE, KEPT, *(json.loads(line) for text in shipped for line in text.split("\n") if line)):
        assert not list(checker.iter_errors(row))
    for wrong in ({**KEPT, "rool": "x"}, {**KEPT, "role": "fake"}, {**FAKE, "of": 3}, {"id": "a"}):
        assert list(checker.iter_errors(wrong))
        with pytest.raises(ValueError, match="validation error"):
            Item.model_validate(wrong)


def test_null_is_absent_and_a_byte_order_mark_is_no_text(folder: Path) -> None:
    plain = load_language(folder, "en")
    rows = [{**row, "real_detail": None, "fake_qa": None} for row in (FAKE, KEPT)]
    text = "\ufeff" + "\r\n".join(json.dumps(row) for row in rows)
    (folder / "en.jsonl").write_text(text, encoding="utf-8", newline="")
    assert load_language(folder, "en") == plain
    assert [f for f in validate(folder) if f.severity == "error"] == []
    (folder / "en.jsonl").write_text(json.dumps({**KEPT, "real": None}))
    with pytest.raises(UserError, match=r"en\.jsonl:1: real: Field required"):
        load_language(folder, "en")
    (folder / "en.jsonl").write_bytes(json.dumps({**KEPT, "real": "für"}, ensure_ascii=False).encode("cp1252"))
    with pytest.raises(UserError, match="it looks like cp1252; convert it: iconv"):
        load_language(folder, "en")
