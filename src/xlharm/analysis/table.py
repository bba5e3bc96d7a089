"""The results table: one row for each cell × query language that has been evaluated."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from xlharm.analysis.intervals import wilson
from xlharm.errors import CorruptArtifactError, StoreError, UserError
from xlharm.parallel import side_by_side
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.store.record import Record
from xlharm.store.store import Store

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


@dataclass(frozen=True, kw_only=True)
class Results:
    """All evaluations of a grid that are done.

    Attributes:
        table: one row per cell × query language, in the grid's order; see ``results_table``.
        damaged: one line for each evaluation that is in the store but cannot be trusted.
        records: the evaluations' records by stage key.
    """

    table: pa.Table
    damaged: tuple[str, ...] = ()
    records: dict[str, Record] = field(default_factory=dict)


def results_table(plan: Plan, store: Store) -> pa.Table:
    """Return the results of a grid, as far as it is done.

    ``of`` and ``qr`` with their 95 % Wilson bounds and the ``off_language`` and ``degenerate`` rates are percentages
    (0–100, two decimals), ``rouge_l`` (0–1) and ``chrf`` (0–100) means over the QR answers; a measure without
    questions is null, and so is ``off_language`` where it cannot be judged. ``n`` counts the OF questions,
    ``n_qr`` the QR ones.
    Evaluations that are missing or damaged are left out; ``collect`` names the damaged ones.
    """
    return collect(plan, store).table


def collect(plan: Plan, store: Store) -> Results:
    """Read every finished evaluation of a plan once; an evaluation that fails its checksums is named, not used."""
    rows: list[dict[str, Any]] = []
    damaged: list[str] = []
    records: dict[str, Record] = {}
    finished = list(_finished(plan, store))
    reads = side_by_side([partial(_read, store, key) for _, _, key in finished])
    for (cell, query, key), record in zip(finished, reads, strict=True):
        if isinstance(record, str):
            damaged.append(f"{cell.name} in {query}: {record}")
            continue
        try:
            rows.append(_row(record.metrics, plan=plan, cell=cell, query=query))
        except (AttributeError, KeyError, TypeError, ValueError):
            damaged.append(f"{cell.name} in {query}: the record of {key[:16]} holds no counts of hits")
        else:
            records[key] = record
    return Results(table=pa.Table.from_pylist(rows, schema=SCHEMA), damaged=tuple(damaged), records=records)


def _read(store: Store, key: str) -> Record | str:
    """Return the record of an evaluation whose files are sound, or what is wrong with it."""
    try:
        store.path("evaluate", key)
        return store.record("evaluate", key)
    except StoreError:
        raise
    except (CorruptArtifactError, OSError) as error:
        return " ".join(str(error).split())


def render(table: pa.Table, *, form: Format) -> bytes:
    """Serialise a results table; the same table gives the same bytes.

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
            return (json.dumps(table.to_pylist(), ensure_ascii=False, indent=1) + "\n").encode("utf-8")
        case "parquet":
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink)
            return bytes(sink.getvalue().to_pybytes())
        case _:
            raise UserError(f"--format {form}: expected csv, json or parquet")


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


def _finished(plan: Plan, store: Store) -> Iterator[tuple[Cell, str, str]]:
    done = store.done(plan.stages)
    for cell in plan.cells:
        for query, key in cell.evaluations.items():
            if key in done:
                yield cell, query, key


def _row(metrics: dict[str, Any], *, plan: Plan, cell: Cell, query: str) -> dict[str, Any]:
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
