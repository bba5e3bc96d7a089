"""The results table: its columns, its rows (one for each cell × query language), and how tables are written."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from xlharm.analysis.reading import Rate, Reading
from xlharm.errors import UserError

Format = Literal["csv", "json", "parquet"]

_TEXT = ("grid", "cell", "contaminate", "unlearn", "method")
_RATES = ("qr", "qr_lo", "qr_hi", "of", "of_lo", "of_hi", "off_language", "degenerate")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXT),
        ("seed", pa.int64()),
        ("query", pa.string()),
        ("n", pa.int64()),
        *((name, pa.float64()) for name in _RATES),
        ("n_qr", pa.int64()),
        ("items", pa.int64()),
        ("items_qr", pa.int64()),
        ("refusal", pa.float64()),
        ("rouge_l", pa.float64()),
        ("chrf", pa.float64()),
    ]
)

CHOICES = SCHEMA.append(pa.field("measure", pa.string()))
"""The columns for a masked base: ``measure`` is `choice`, so that its rates are not taken for those of answers."""


def render(table: pa.Table, *, form: Format) -> bytes:
    """Serialise a results table; the same table gives the same bytes.

    Numbers that are not finite are `inf`, `-inf` and `nan` in CSV, and in JSON the same as text.

    Raises:
        UserError: an unknown format.
    """
    match form:
        case "csv":
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(table.column_names)
            writer.writerows(row.values() for row in table.to_pylist())
            return text.getvalue().encode("utf-8")
        case "json":
            rows = [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]
            return (json.dumps(rows, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode("utf-8")
        case "parquet":
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink)
            return bytes(sink.getvalue().to_pybytes())
        case _:
            raise UserError(f"--format {form}: expected csv, json or parquet")


def _plain(value: Any) -> Any:
    """Write a number that is not finite as text (`inf`, `-inf`, `nan`), because JSON has no such numbers."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write(table: pa.Table, path: Path, *, form: Format) -> Path:
    """Write a results table to a file.

    Raises:
        UserError: the file cannot be written, or the format is unknown.
    """
    return write_file(path, render(table, form=form))


def write_file(path: Path, content: bytes) -> Path:
    """Write an output file, making its folder; an old one is replaced at once.

    Raises:
        UserError: it cannot be written.
    """
    scratch = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(content)
        scratch.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    return path


def row_of(reading: Reading, *, grid: str, cell: str, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the row of one evaluation; a measure without questions is null, for 0 would be read as a result.

    Args:
        reading: the evaluation.
        grid: the grid's name.
        cell: the cell's.
        metrics: of the evaluation's record.
    """
    of, qr = reading.of, reading.qr
    return {
        "grid": grid,
        "cell": cell,
        "contaminate": reading.contaminate,
        "unlearn": reading.unlearn,
        "method": reading.method,
        "seed": reading.seed,
        "query": reading.query,
        "n": of.n if of else 0,
        **_bounds("qr", qr),
        **_bounds("of", of),
        "off_language": _rounded(reading.off_language),
        "degenerate": _rounded(reading.degenerate),
        "n_qr": qr.n if qr else 0,
        "items": of.items if of else 0,
        "items_qr": qr.items if qr else 0,
        "refusal": _rounded(percentage(metrics["refusal"])),
        "rouge_l": _mean(metrics["rouge_l"], digits=4),
        "chrf": _mean(metrics["chrf"], digits=2),
        "measure": "choice" if "choice" in metrics else "answers",
    }


def percentage(counted: dict[str, int]) -> float | None:
    """Return counted hits as a percentage; None when nothing was counted."""
    return 100 * counted["hits"] / counted["n"] if counted["n"] else None


def _mean(counted: dict[str, float], *, digits: int) -> float | None:
    return round(counted["mean"], digits) if counted["n"] else None


def _bounds(name: str, rate: Rate | None) -> dict[str, float | None]:
    values = (rate.value, rate.low, rate.high) if rate else (None, None, None)
    return dict(zip((name, f"{name}_lo", f"{name}_hi"), map(_rounded, values), strict=True))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
