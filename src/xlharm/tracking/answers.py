"""A cell's answers as a table: every question of every query language, with what matching and judges say of it."""

from typing import Any

from xlharm.analysis.results import GridResults
from xlharm.plan.cells import Cell
from xlharm.tracking.tables import Sheet


def answers_of(results: GridResults, cell: Cell) -> Sheet:
    """Return all answers of a cell, as far as it is evaluated; lists are joined by ` | `.

    The columns are those of the stored rows after ``query``; each judge adds `judge:NAME`, null where it gave no
    verdict. Texts of models are untrusted.
    """
    rows: list[dict[str, Any]] = []
    for query, key in cell.evaluations.items():
        table = results.rows(key)
        verdicts = {judge: results.rows(keys[query], columns=("hit",)) for judge, keys in cell.judged.items()}
        for i, row in enumerate(table.to_pylist() if table is not None else ()):
            plain = {name: " | ".join(map(str, x)) if isinstance(x, list) else x for name, x in row.items()}
            judged = {
                f"judge:{n}": hits["hit"][i].as_py() if hits is not None else None for n, hits in verdicts.items()
            }
            rows.append({"query": query, **plain, **judged})
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return Sheet(columns=columns, rows=[[row.get(name) for name in columns] for row in rows])
