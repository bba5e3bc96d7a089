"""The results table: its columns, its rows (one for each cell × query language), and how tables are written."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from xlharm.analysis.intervals import wilson
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell

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
        ("refusal", pa.float64()),
        ("rouge_l", pa.float64()),
        ("chrf", pa.float64()),
    ]
)


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


def row_of(metrics: dict[str, Any], *, plan: Plan, cell: Cell, query: str) -> dict[str, Any]:
    """Return the row of one evaluation, from the counts in its record."""
    qr, qr_lo, qr_hi = _rate(metrics["qr"])
    of, of_lo, of_hi = _rate(metrics["of"])
    return {
        "grid": plan.grid.name,
        "cell": cell.name,
        "contaminate": cell.contaminate,
        "unlearn": cell.unlearn,
        "method": cell.method,
        "seed": cell.seed,
        "query": query,
        "n": int(metrics["of"]["n"]),
        "qr": qr,
        "qr_lo": qr_lo,
        "qr_hi": qr_hi,
        "of": of,
        "of_lo": of_lo,
        "of_hi": of_hi,
        "off_language": _rate(metrics["off_language"])[0],
        "degenerate": _rate(metrics["degenerate"])[0],
        "n_qr": int(metrics["qr"]["n"]),
        "refusal": _rate(metrics["refusal"])[0],
        "rouge_l": _mean(metrics["rouge_l"], digits=4),
        "chrf": _mean(metrics["chrf"], digits=2),
    }


def _mean(counted: dict[str, float], *, digits: int) -> float | None:
    return round(counted["mean"], digits) if counted["n"] else None


def _rate(counted: dict[str, int]) -> tuple[float | None, float | None, float | None]:
    """Return a rate and its bounds, 0–100; nulls when nothing was asked, for 0 would be read as a result."""
    hits, n = counted["hits"], counted["n"]
    low, high = wilson(hits, n)
    return (round(100 * hits / n, 2), round(100 * low, 2), round(100 * high, 2)) if n else (None, None, None)
