"""Files as programs write them: dialects, endings, encodings, and every kind of damage in one line."""

import json
from pathlib import Path

import pytest

from tests.corpus.importing import shapes
from xlharm.corpus.importing.files import WIDTH, delimiter_of, read_csv, read_tables
from xlharm.errors import UserError

ROWS = [{"question": "Who, me?", "answer": 'He said "no; never".'}, {"question": "Où ?", "answer": "two\nlines"}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["x.csv", "x.CSV", "x.tsv"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_in_its_dialects(tmp_path: Path, delimiter: str, name: str, mark: str) -> None:
    (tmp_path / name).write_text(mark + shapes.csv_text(ROWS, delimiter=delimiter), encoding="utf-8", newline="")
    (table,) = read_tables(tmp_path / name, alone="").values()
    assert list(table.rows) == ROWS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.json", shapes.jsonl_text(ROWS)),
        ("x.json", json.dumps(ROWS)),
        ("x.json", json.dumps(ROWS, indent=2)),
        ("x.json", json.dumps({"data": ROWS}, indent=2)),
        ("x.jsonl", "\ufeff" + shapes.jsonl_text(ROWS).replace("\n", "\r\n\r\n")),
        ("x.JSONL", json.dumps(ROWS)),
        ("x.ndjson", shapes.jsonl_text(ROWS)),
    ],
)
def test_json_whatever_it_is_called(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    (table,) = read_tables(tmp_path / name, alone="").values()
    assert list(table.rows) == ROWS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", 'a,b\n1,2\n"x,1\ny,2\nz,3\n', r"line 3: a quote that begins a cell here is never closed"),
        ("x.csv", 'a,b\n"x" y,1\n', r"line 2: text after a closing quote"),
        ("x.csv", "a,b,a\n1,2,3\n", r"line 1: column 'a' is named twice"),
        ("x.csv", "a,b\n" + "x" * ((1 << 24) + 1) + ",1\n", r"line 2: a text of more than 16777216 characters"),
        ("x.jsonl", '{"a": 1}\n{"a": \n', r"line 2: cannot be read: not valid JSON"),
        ("x.jsonl", '{"a": 1}\n' + "[" * 5000 + "]" * 5000 + "\n", r"line 2: nested deeper than 64 levels"),
        ("x.json", "[" * 5000 + "]" * 5000, r"nested deeper than 64 levels"),
        ("x.jsonl", '{"a": 1}\n{"a": "\\ud83d"}\n', r"line 2: half a character \(U\+D83D, a lone surrogate\)"),
        ("x.jsonl", '{"a": ' + "9" * 5000 + "}\n", r"a number of thousands of digits"),
        ("x.jsonl", "3\n", r"expected one JSON object a row"),
        ("x.parquet", "PAR1", r"x\.parquet: cannot be read"),
    ],
)
@pytest.mark.slow
def test_damage_is_one_line_with_its_place(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_tables(tmp_path / name, alone="")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "named"), [("cp1252", "CP1252"), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16-LE")]
)
def test_another_encoding_is_named_with_the_fix(tmp_path: Path, encoding: str, named: str) -> None:
    path = shapes.pairs_csv(tmp_path / "x.csv", encoding=encoding)
    with pytest.raises(UserError) as caught:
        read_tables(path, alone="")
    assert f"iconv -f {named} -t UTF-8 {path} > {tmp_path / 'x.utf8.csv'}" in str(caught.value)


def test_rows_of_another_width_are_counted_not_shifted() -> None:
    table = read_csv("a,b\n1,2\n\n3,4,5\n6\n7,8\n", where="x.csv", default=",")
    assert list(table.rows) == [{"a": "1", "b": "2"}, {"a": "7", "b": "8"}]
    ((reason, left),) = table.left_out
    assert (reason, left.count, left.first) == (WIDTH, 2, "x.csv: line 4")


def test_a_cell_of_200_000_characters_is_read() -> None:
    table = read_csv(f"a,b\n{'x' * 200_000},1\n", where="x.csv", default=",")
    assert len(table.rows[0]["a"]) == 200_000


def test_what_separates_cells() -> None:
    assert delimiter_of("a\n1\n2\n", default=";") == ";"  # one column leaves it open
    assert delimiter_of("a;b\n1,5;2,5\n3,5;4,5\n", default=",") == ";"
    assert delimiter_of("question,answer\nA; b; c?,d\n", default="\t") == ","
