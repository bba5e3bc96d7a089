"""Agreement of a grid's judges with matching, with each other, and with human annotators, language by language."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from xlharm.analysis.kappa import SheetRow, cohen_of, fleiss_kappa, read_sheet, with_interval
from xlharm.analysis.results import GridResults
from xlharm.plan.digest import digest, mix

_SCHEMA = pa.schema(
    [
        ("raters", pa.string()),
        ("measure", pa.string()),
        ("language", pa.string()),
        ("n", pa.int64()),
        ("kappa", pa.float64()),
        ("kappa_lo", pa.float64()),
        ("kappa_hi", pa.float64()),
        ("same", pa.float64()),
    ]
)


def ratings(results: GridResults) -> list[dict[str, Any]]:
    """Return every judged answer once: ids, texts, and the verdicts by rater (`matching` among them)."""
    answers: dict[str, dict[str, Any]] = {}
    for cell in results.plan.cells:
        for query, key in cell.evaluations.items():
            for row in _rows(results, key):
                name = _id(key, row)
                kept = {f: row[f] for f in ("item", "measure", "question", "answer", "expected")}
                answers.setdefault(name, {"id": name, "language": query, **kept, "by": {"matching": row["hit"]}})
            for judge, keys in cell.judged.items():
                for row in _rows(results, keys[query]):
                    name = _id(key, row)
                    if row["hit"] is not None and name in answers:
                        answers[name]["by"][judge] = row["hit"]
    return list(answers.values())


def _id(key: str, row: dict[str, Any]) -> str:
    return digest([key, row["measure"], row["item"], row["question"]])[:16]


def _rows(results: GridResults, key: str) -> list[dict[str, Any]]:
    table = results.rows(key)
    return [] if table is None else list(table.to_pylist())


def sheet(results: GridResults, *, per_language: int) -> Iterator[SheetRow]:
    """Draw answers for annotators: as many for each language and measure, the same ones every time."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in ratings(results):
        groups.setdefault((row["language"], row["measure"]), []).append(row)
    for (language, measure), rows in sorted(groups.items()):
        for row in sorted(rows, key=lambda r: mix("sheet", r["id"]))[:per_language]:
            expected = " / ".join(row["expected"])
            yield SheetRow(row["id"], language, measure, row["question"], row["answer"], expected)


def agreement(results: GridResults, *, human: Path | None) -> pa.Table:
    """Return κ with 95 % bootstrap intervals: Cohen's for every pair of raters, Fleiss' for all of them together.

    Raises:
        UserError: the annotators' sheet cannot be read.
    """
    rows = ratings(results)
    labels = read_sheet(human) if human else {}
    for row in rows:
        if row["id"] in labels:
            row["by"]["human"] = labels[row["id"]]
    raters = list(dict.fromkeys(name for row in rows for name in row["by"]))
    pairs = [(a, b) for i, a in enumerate(raters) for b in raters[i + 1 :]]
    groups = list(dict.fromkeys((row["measure"], row["language"]) for row in rows))
    lines = []
    for measure, language in [*groups, *dict.fromkeys((m, "all") for m, _ in groups)]:
        answers = [r for r in rows if r["measure"] == measure and language in ("all", r["language"])]
        lines += [_line(answers, p, cohen_of, measure=measure, language=language) for p in pairs]
        if len(raters) > 2:
            lines.append(_line(answers, tuple(raters), fleiss_kappa, measure=measure, language=language))
    return pa.Table.from_pylist([line for line in lines if line["n"]], schema=_SCHEMA)


def _line(
    rows: list[dict[str, Any]],
    raters: tuple[str, ...],
    kappa: Callable[[list[list[bool]]], float | None],
    *,
    measure: str,
    language: str,
) -> dict[str, Any]:
    judged = [row for row in rows if all(r in row["by"] for r in raters)]
    both = [[row["by"][r] for r in raters] for row in judged]
    interval = with_interval(kappa, both, items=[row["item"] for row in judged]) if both else None
    return {
        "raters": " / ".join(raters),
        "measure": measure,
        "language": language,
        "n": len(both),
        "kappa": interval.estimate if interval else None,
        "kappa_lo": interval.low if interval else None,
        "kappa_hi": interval.high if interval else None,
        "same": 100 * sum(len(set(r)) == 1 for r in both) / len(both) if both else None,
    }
