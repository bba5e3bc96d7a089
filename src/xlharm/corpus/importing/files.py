"""Rows of one file or saved folder: CSV in its dialects, JSON, JSON lines, parquet, `save_to_disk`."""

import csv
import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xlharm.corpus.importing.account import LeftOut
from xlharm.errors import UserError, nearest
from xlharm.plain_files import check_depth, parse_json, read_text

Row = dict[str, Any]
SUFFIXES = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".ndjson": "json", ".json": "json", ".parquet": "parquet"}
_DELIMITERS = (",", ";", "\t", "|")
_CELL = 1 << 24  # most characters of a text; Python's csv module allows 131,072 by default
_TRIED = 200  # records that tell which character separates cells
WIDTH = "another number of cells than the header has (a separator without quotes, or a quote that is not closed)"


@dataclass(frozen=True)
class Table:
    """Rows in the source's order, and those that could not be read as a row.

    Attributes:
        rows: by column.
        left_out: by reason.
    """

    rows: tuple[Row, ...]
    left_out: LeftOut = field(default_factory=LeftOut)


def is_saved(path: Path) -> bool:
    """Whether `datasets` wrote this folder: a data set, or a folder of its splits."""
    if not path.is_dir():
        return False
    return any((path / name).is_file() for name in ("dataset_info.json", "dataset_dict.json")) or bool(_splits(path))


def _splits(path: Path) -> dict[str, Path]:
    return {inner.name: inner for inner in sorted(path.iterdir()) if (inner / "state.json").is_file()}


def is_table(path: Path) -> bool:
    """Whether a path's ending is one that is read."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def read_tables(path: Path, *, alone: str) -> dict[str, Table]:
    """Read a file or saved folder by split; what has no splits is one, of the name ``alone``.

    Raises:
        UserError: it cannot be read; the file and, where there is one, the line are named.
    """
    if path.is_dir():
        return _saved(path, alone=alone)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: expected one of {', '.join(SUFFIXES)}{nearest(suffix, SUFFIXES)}")
    match SUFFIXES[suffix]:
        case "csv":
            table = read_csv(read_text(path), where=str(path), default="\t" if suffix == ".tsv" else ",")
        case "json":
            table = Table(read_json(read_text(path), where=str(path)))
        case _:
            table = _parquet(path)
    return {alone: table}


def read_csv(text: str, *, where: str, default: str) -> Table:
    """Read CSV strictly; cells stay text, so that an id 007 or an answer 1.50 is not turned into a number.

    Args:
        text: the file's.
        where: its name, for messages.
        default: what separates cells if the text leaves it open.

    Raises:
        UserError: a quote is never closed, a text is too long, a column is named twice; with the line.
    """
    rows: list[Row] = []
    left_out = LeftOut()
    header: list[str] = []
    for line, cells in _records(text, delimiter=delimiter_of(text, default=default), where=where):
        if not header:
            header = [name or f"column {i}" for i, name in enumerate((cell.strip() for cell in cells), 1)]
            twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
            if twice is not None:
                raise UserError(f"{where}: line {line}: column {twice!r} is named twice")
        elif len(cells) == len(header):
            rows.append(dict(zip(header, cells, strict=True)))
        else:
            left_out.add(WIDTH, where=f"{where}: line {line}")
    return Table(tuple(rows), left_out)


def _records(text: str, *, delimiter: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that each record begins in, and its cells; empty lines are none."""
    before = csv.field_size_limit(_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{where}: line {line}: {_csv_mistake(str(error))}") from None
    finally:
        csv.field_size_limit(before)


def _csv_mistake(message: str) -> str:
    if "unexpected end of data" in message:
        return "a quote that begins a cell here is never closed"
    if "field larger" in message:
        return f"a text of more than {_CELL} characters (is a quote not closed?)"
    if "expected after" in message:
        return 'text after a closing quote (a quote within a quoted cell is written twice: "")'
    return message


def delimiter_of(text: str, *, default: str) -> str:
    """Return what separates cells: what most records have as often as the header."""

    def score(delimiter: str) -> tuple[bool, float, int, bool]:
        widths = []
        try:
            for _, cells in itertools.islice(_records(text, delimiter=delimiter, where=""), _TRIED):
                widths.append(len(cells))
        except UserError:
            pass  # what was read until then tells enough
        if not widths:
            return False, 0.0, 0, False
        alike = sum(width == widths[0] for width in widths) / len(widths)
        return widths[0] > 1, alike, widths[0], delimiter == default

    best = max(_DELIMITERS, key=score)
    return best if score(best)[0] else default


def read_json(text: str, *, where: str) -> tuple[Row, ...]:
    """Read JSON lines, a list of objects, or one object with a list of them, whatever the file is called.

    Raises:
        UserError: it is neither; with the line.
    """
    begins = text.lstrip()[:1]
    try:
        value = parse_json(text) if begins == "[" or "\n" not in text.strip() else _lines(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: line {error.lineno}: cannot be read: not valid JSON: {error.msg}") from None
    except ValueError as error:
        raise UserError(f"{where}: cannot be read: {error}") from None
    if isinstance(value, dict):
        inner = list(value.values())
        value = inner[0] if len(inner) == 1 and _objects(inner[0]) else [value]
    if not _objects(value):
        raise UserError(f"{where}: cannot be read: expected one JSON object a row")
    return tuple(value)


def _objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _lines(text: str) -> Any:
    """Read a value a line; where the first line is none by itself, one value over many lines."""
    values: list[Any] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values.append(parse_json(line))
        except json.JSONDecodeError as error:
            if not values:
                return parse_json(text)
            raise json.JSONDecodeError(error.msg, text, _offset(text, number)) from None
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return values


def _offset(text: str, number: int) -> int:
    at = 0
    for _ in range(number - 1):
        at = text.index("\n", at) + 1
    return at


def _parquet(path: Path) -> Table:
    import pyarrow as pa  # noqa: PLC0415 - for parquet files only
    import pyarrow.parquet as pq  # noqa: PLC0415 - for parquet files only

    try:
        table = pq.read_table(path)
        rows = table.to_pylist()
        check_depth(rows)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read: {_first_line(error)}") from None
    return Table(tuple(_with_names(rows, _class_names(table.schema.metadata or {}))))


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return names of classes by column, as `datasets` notes them in a table."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {column: told["names"] for column, told in features.items() if told.get("_type") == "ClassLabel"}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}


def named_rows(found: Any) -> tuple[Row, ...]:
    """Return a data set's rows; numbers of classes that have names become names."""
    import datasets  # noqa: PLC0415 - half a second, for data sets only

    names = {c: f.names for c, f in found.features.items() if isinstance(f, datasets.ClassLabel)}
    return tuple(_with_names(list(found), names))


def _with_names(rows: list[Row], names: dict[str, list[str]]) -> list[Row]:
    def named(column: str, value: Any) -> Any:
        known = names.get(column, [])
        return known[value] if isinstance(value, int) and 0 <= value < len(known) else value

    return [{column: named(column, value) for column, value in row.items()} for row in rows] if names else rows


def _saved(path: Path, *, alone: str) -> dict[str, Table]:
    import datasets  # noqa: PLC0415 - half a second, for data sets only

    try:
        if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
            found = datasets.load_from_disk(str(path))
            splits = dict(found) if isinstance(found, datasets.DatasetDict) else {alone: found}
        else:  # published without the file that lists its splits
            splits = {name: datasets.load_from_disk(str(inner)) for name, inner in _splits(path).items()}
        return {str(name): Table(named_rows(split)) for name, split in splits.items()}
    except (OSError, ValueError, LookupError, TypeError, datasets.exceptions.DatasetGenerationError) as error:
        raise UserError(f"{path}: cannot be read: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
