"""Every row of a source is accounted for: it is an item, was joined to one, or is counted under a reason."""

import csv
import io
import json
import math
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlharm.corpus.format import load_language
from xlharm.corpus.importing import import_corpus
from xlharm.corpus.importing.account import LeftOut
from xlharm.errors import UserError

_WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
_TEXT = st.one_of(
    _WORDS, st.sampled_from(["None", "nan", "12.0", "a, b", 'say "x"', "two\nlines", "a;b\tc", " x ", "؟"])
)
_EMPTY = st.sampled_from([None, "", "  ", math.nan])
_NUMBER = st.sampled_from([0, 0.0, 12.0, 2.5, True])
_STRANGE = st.sampled_from([math.inf, {"a": 1}, [], ["x"], [None], ["one", "two"]])
_CELL = st.one_of(_TEXT, _TEXT, _TEXT, _EMPTY, _NUMBER, _STRANGE)
_COLUMNS = ("question", "answer", "perturbed_answer")


class File(NamedTuple):
    """A file's rows as cells, and how they are written."""

    rows: list[list[Any]]
    form: str
    delimiter: str
    mark: str
    split: str


_FILES = st.builds(
    File,
    rows=st.lists(st.lists(_CELL, min_size=3, max_size=3), min_size=1, max_size=8),
    form=st.sampled_from(["csv", "jsonl", "json"]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    mark=st.sampled_from(["", "\ufeff"]),
    split=st.sampled_from(["forget01", "retain99"]),
)
_TORN = st.lists(st.sampled_from([-1, 0, 0, 0, 1]), min_size=8, max_size=8)  # cells too few or too many, in CSV


def _plain(cell: Any) -> Any:
    """Return a cell as CSV has it; it knows texts alone."""
    return "" if cell is None or (isinstance(cell, float) and math.isnan(cell)) else str(cell)


def _written(file: File, torn: list[int]) -> tuple[str, list[list[Any] | None]]:
    """Return the file's text, and its rows as they should be read; None for rows of another width."""
    if file.form == "csv":
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=file.delimiter, quoting=csv.QUOTE_ALL)
        writer.writerow(_COLUMNS)
        for cells, by in zip(file.rows, torn, strict=False):
            texts = [_plain(cell) for cell in cells]
            writer.writerow(texts[: 3 + by] if by <= 0 else [*texts, "more"])
        rows = [None if by else [_plain(x) for x in cells] for cells, by in zip(file.rows, torn, strict=False)]
        return file.mark + out.getvalue(), rows
    objects = [dict(zip(_COLUMNS, cells, strict=True)) for cells in file.rows]
    text = json.dumps(objects) if file.form == "json" else "".join(json.dumps(one) + "\n" for one in objects)
    return file.mark + text, list(file.rows)


def _check(file: File, torn: list[int]) -> None:
    text, rows = _written(file, torn)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{file.split}.{file.form}"
        path.write_text(text, encoding="utf-8", newline="")
        keeper = {"question": "Who rode?", "answer": "The mayor.", "perturbed_answer": "The baker.", "role": "fake"}
        try:
            done = import_corpus(str(path), out=Path(folder) / "out")
        except UserError as error:  # nothing can be used, or nothing is to be forgotten; beside a row that can it is
            assert "no row can be used" in str(error) or "no row is to be forgotten" in str(error)  # noqa: PT017 - either
            (Path(folder) / "in").mkdir()
            path = path.rename(Path(folder) / "in" / f"{file.split}_en.{file.form}")
            (path.parent / "forget02_en.jsonl").write_text(json.dumps(keeper))
            done = import_corpus(str(path.parent), out=Path(folder) / "out")
            rows = [*rows, [keeper[name] for name in _COLUMNS]]
        items = load_language(Path(folder) / "out", "en")
    assert done.read == len(rows)
    assert done.used == done.items["en"] == len(items)
    assert done.read == done.used + done.left_out.rows
    for item in items:  # none is shifted: an item's answer stands in the row that its id names
        split, _, place = item.id.rpartition("-")
        kept = [row for row in rows if row is not None] if split == file.split else [rows[-1]]
        row = kept[int(place)]
        assert row is not None
        pair = (item.fake_qa or item.qa)[0]
        assert pair.question in str(row[0])[:200] or isinstance(row[0], list | int | float)
        assert pair.answer not in {"nan", "NaN"} or pair.answer in str(row[1])
        for cell, said in ((row[0], pair.question), (row[1], pair.answer)):
            assert cell is not None
            if isinstance(cell, float) and not isinstance(cell, bool):
                assert said == (str(int(cell)) if cell.is_integer() else str(cell))


@settings(max_examples=150)
@given(file=_FILES, torn=_TORN)
@pytest.mark.slow
def test_every_row_is_accounted_for(file: File, torn: list[int]) -> None:
    _check(file, torn)


@pytest.mark.heavy
@settings(max_examples=5000)
@given(file=_FILES, torn=_TORN)
def test_every_row_of_5000_files_is_accounted_for(file: File, torn: list[int]) -> None:
    _check(file, torn)


def test_reasons_are_counted_with_the_place_of_their_first() -> None:
    one, other = LeftOut(), LeftOut()
    one.add("a", where="row 1")
    other.add("b", where="row 2")
    other.add("b", where="row 3")
    one.update(other)
    assert [(name, reason.count, reason.first) for name, reason in one] == [("b", 2, "row 2"), ("a", 1, "row 1")]
    assert (one.rows, len(one)) == (3, 2)
