"""Agreement of a grid's judges with matching, with each other, and with human annotators, language by language."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xlharm.analysis.kappa import SheetRow, cohen_of, fleiss_kappa, read_sheet, with_interval
from xlharm.errors import CorruptArtifactError
from xlharm.plan.build import Plan
from xlharm.plan.digest import digest, mix
from xlharm.store.store import Store

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


def ratings(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """Return every judged answer once: ids, texts, and the verdicts by rater (`matching` among them)."""
    found: dict[str, dict[str, Any]] = {}
    done = store.done(plan.stages)
    for cell in plan.cells:
        for query, key in cell.evaluations.items():
            if key not in done:
                continue
            for row in _rows(store, "evaluate", key, "rows.parquet"):
                name = digest([key, row["measure"], row["item"], row["question"]])[:16]
                kept = {f: row[f] for f in ("item", "measure", "question", "answer", "expected")}
                found.setdefault(name, {"id": name, "language": query, **kept, "by": {"matching": row["hit"]}})
            for judge, mine in cell.judged.items():
                for row in _rows(store, "judge", mine[query], "verdicts.parquet") if mine[query] in done else ():
                    name = digest([key, row["measure"], row["item"], row["question"]])[:16]
                    if row["hit"] is not None and name in found:
                        found[name]["by"][judge] = row["hit"]
    return list(found.values())


def sheet(plan: Plan, store: Store, *, per_language: int) -> Iterator[SheetRow]:
    """Draw answers for annotators: as many for each language and measure, the same ones every time."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in ratings(plan, store):
        groups.setdefault((row["language"], row["measure"]), []).append(row)
    for (language, measure), rows in sorted(groups.items()):
        for row in sorted(rows, key=lambda r: mix("sheet", r["id"]))[:per_language]:
            expected = " / ".join(row["expected"])
            yield SheetRow(row["id"], language, measure, row["question"], row["answer"], expected)


def agreement(plan: Plan, store: Store, *, human: Path | None) -> pa.Table:
    """Return κ with 95 % bootstrap intervals: Cohen's for every pair of raters, Fleiss' for all of them together.

    Raises:
        UserError: the annotators' sheet cannot be read.
    """
    rows = ratings(plan, store)
    labels = read_sheet(human) if human else {}
    for row in rows:
        if row["id"] in labels:
            row["by"]["human"] = labels[row["id"]]
    raters = list(dict.fromkeys(name for row in rows for name in row["by"]))
    pairs = [(a, b) for i, a in enumerate(raters) for b in raters[i + 1 :]]
    groups = list(dict.fromkeys((row["measure"], row["language"]) for row in rows))
    found = []
    for measure, language in [*groups, *dict.fromkeys((m, "all") for m, _ in groups)]:
        mine = [r for r in rows if r["measure"] == measure and language in ("all", r["language"])]
        found += [_line(mine, p, cohen_of, measure=measure, language=language) for p in pairs]
        if len(raters) > 2:
            found.append(_line(mine, tuple(raters), fleiss_kappa, measure=measure, language=language))
    return pa.Table.from_pylist([line for line in found if line["n"]], schema=_SCHEMA)


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
    found = with_interval(kappa, both, items=[row["item"] for row in judged]) if both else None
    return {
        "raters": " / ".join(raters),
        "measure": measure,
        "language": language,
        "n": len(both),
        "kappa": found.estimate if found else None,
        "kappa_lo": found.low if found else None,
        "kappa_hi": found.high if found else None,
        "same": 100 * sum(len(set(r)) == 1 for r in both) / len(both) if both else None,
    }


def _rows(store: Store, kind: str, key: str, name: str) -> list[dict[str, Any]]:
    try:
        return list(pq.read_table(store.path(kind, key) / name).to_pylist())
    except (CorruptArtifactError, OSError, ValueError):
        return []
