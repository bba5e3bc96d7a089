"""What the page holds as data: numbers of all cells, tables of views, answers. Its script shows them on demand.

Data are JSON, compressed (raw deflate) and written in base64, so no text of a model or corpus can end the element that
holds them. The page makes text nodes of them, never markup.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pyarrow as pa

from xlharm.analysis.panels import resolved
from xlharm.analysis.reading import Rate, Reading
from xlharm.analysis.results import GridResults
from xlharm.analysis.seeds import shown
from xlharm.analysis.study import set_name
from xlharm.analysis.wording import Language
from xlharm.config.grid import NONE
from xlharm.plan.cells import Cell

_MEASURES = ("of", "qr")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One element of data; ``id`` is how the script finds it."""

    id: str
    text: str


def packed(value: Any) -> str:
    """Return a value as compressed JSON in base64; the same value gives the same text.

    Raises:
        ValueError: a number is not finite.
    """
    plain = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(squeeze.compress(plain) + squeeze.flush()).decode("ascii")


def cells_data(results: GridResults) -> dict[str, Any]:
    """Return the numbers of all cells, and first those of all seeds together where there are several.

    ``cells`` are [contaminate, set, method, seed or null]. ``numbers`` holds, for each measure and bound, one list over
    cells × query languages, in tenths of a percent; null where there is no result.
    """
    plan, readings = results.plan, shown(results)
    languages = plan.grid.languages
    several = len(plan.grid.seeds) > 1
    pooled = list(dict.fromkeys((c.contaminate, c.unlearn, c.method, None) for c in plan.cells)) if several else []
    places = [*pooled, *((c.contaminate, c.unlearn, c.method, c.seed) for c in plan.cells)]
    numbers: dict[str, list[int | None]] = {
        name: [] for m in _MEASURES for name in (m, f"{m}_lo", f"{m}_hi", f"{m}_n", f"{m}_items")
    }
    for name in ("off_language", "degenerate"):
        numbers[name] = []
    rises: list[str] = []
    notes: dict[str, str] = {}
    for place in places:
        for query in languages:
            reading = readings.get(*place, query)
            _add(numbers, reading)
            rises.append({"clear": "2", "maybe": "1"}.get(readings.rise(reading), "0") if reading else "0")
            warnings = readings.warnings(reading) if reading else ()
            if warnings:
                notes[str(len(rises) - 1)] = "; ".join(warnings)
    return {
        "languages": [[code, Language(code).name, Language(code).direction] for code in languages],
        "cells": [list(place) for place in places],
        "sets": _sets(results),
        "models": [None] * len(pooled) + [cell.model[:16] for cell in plan.cells],
        "numbers": {name: values for name, values in numbers.items() if any(v is not None for v in values)},
        "rises": "".join(rises),
        "notes": notes,
        "why": _why(results, skip=len(pooled)),
    }


def _sets(results: GridResults) -> dict[str, dict[str, str]]:
    """Return the languages of each unlearning set, by its name in the grid or in findings and by contamination."""
    sets: dict[str, dict[str, str]] = {}
    for name, languages in results.plan.grid.unlearn.items():
        for contaminate in results.plan.grid.contaminate:
            meant = resolved(languages, contaminate=contaminate)
            if meant and meant != NONE:
                for known in (name, set_name(set(meant.split("+")), contaminate)):
                    sets.setdefault(known, {})[contaminate] = meant
    return sets


def _add(numbers: dict[str, list[int | None]], reading: Reading | None) -> None:
    for measure in _MEASURES:
        rate: Rate | None = getattr(reading, measure) if reading else None
        values: list[int | None] = [None] * 5
        if rate:
            values = [_tenths(rate.value), _tenths(rate.low), _tenths(rate.high), rate.n, rate.items]
        for ending, value in zip(("", "_lo", "_hi", "_n", "_items"), values, strict=True):
            numbers[measure + ending].append(value)
    numbers["off_language"].append(_tenths(reading.off_language) if reading else None)
    numbers["degenerate"].append(_tenths(reading.degenerate) if reading else None)


def _tenths(percent: float | None) -> int | None:
    return None if percent is None else round(10 * percent)


def _why(results: GridResults, *, skip: int) -> dict[str, str]:
    """Say why cells have no result, by their place and query language."""
    why = {}
    queries = results.plan.grid.languages
    if not results.failures:
        return {}
    for i, cell in enumerate(results.plan.cells):
        for j, query in enumerate(queries):
            if cell.evaluations[query] not in results.done and (reason := results.why_missing(cell, query)):
                why[str((skip + i) * len(queries) + j)] = reason
    return why


def table_data(table: pa.Table, columns: Sequence[str]) -> dict[str, Any]:
    """Return a table by columns; numbers that are not finite become text, and floats keep four digits."""
    return {
        "columns": [name.replace("_", " ") for name in columns],
        "numeric": [pa.types.is_floating(t) or pa.types.is_integer(t) for t in (table[c].type for c in columns)],
        "values": [[_plain(value) for value in table[name].to_pylist()] for name in columns],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        text = f"{value:.4g}"
        return float(text) if text not in {"nan", "inf", "-inf"} else text
    return value


def curves(results: GridResults, cell: Cell) -> dict[str, list[list[float]]]:
    """Return the losses of a cell's trained stages, [step, loss], by kind of stage and loss."""
    found: dict[str, list[list[float]]] = {}
    for key in cell.lineage:
        stage, metrics = results.plan.stages[key], results.metrics(key)
        for name in ("loss", "retain_loss"):
            points = metrics.get(name)
            if isinstance(points, list) and len(points) > 1:
                label = stage.kind if name == "loss" else f"{stage.kind}, retain loss"
                found[label] = [[step, float(f"{loss:.4g}")] for step, loss in points if isfinite(loss)]
    return found


def reproduce(results: GridResults, cell: Cell) -> list[str]:
    """Return the arguments with which `xlharm run` computes this cell alone, with the same keys."""
    unlearn = (
        "{none: []}" if cell.unlearn == NONE else f"{{{_set_name(results, cell)}: {_flow(cell.unlearn.split('+'))}}}"
    )
    others = [m for m in results.plan.grid.methods if m != cell.method] if cell.method != NONE else []
    excluded = ", ".join(f"{{method: {name}}}" for name in others)
    alone = [f"contaminate={_flow([cell.contaminate])}", f"unlearn={unlearn}", f"seeds=[{cell.seed}]",
             f"exclude=[{excluded}]"]  # fmt: skip
    return [*results.arguments, *(part for word in alone for part in ("-s", word))]


def _set_name(results: GridResults, cell: Cell) -> str:
    sets = results.plan.grid.unlearn.items()
    return next((n for n, languages in sets if resolved(languages, contaminate=cell.contaminate) == cell.unlearn), "x")


def _flow(words: Iterable[str]) -> str:
    return f"[{', '.join(words)}]"
