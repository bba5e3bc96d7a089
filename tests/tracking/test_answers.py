from dataclasses import replace

import pyarrow as pa
import pytest

from xlharm.analysis.results import GridResults
from xlharm.plan.build import Plan
from xlharm.store.store import Store
from xlharm.tracking.answers import answers_of


def test_all_answers_of_a_cell_with_what_matching_says(small: tuple[Plan, Store]) -> None:
    plan, store = small
    table = answers_of(GridResults(plan, store), plan.cell("ur/en+ur/npo/0"))
    assert table.columns[:6] == ["query", "item", "measure", "question", "answer", "expected"]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert len(rows) == 2 * 2 * 20  # query languages x measures x questions
    assert sum(row["hit"] for row in rows if row["query"] == "ur" and row["measure"] == "qr") == 18
    first = rows[0]
    assert (first["query"], first["item"], first["expected"]) == ("en", "m0", "violin | VIOLIN")


def test_judges_stand_beside_matching(small: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = small
    cell = plan.cell("ur/en+ur/npo/0")
    judged = replace(cell, judged={"strict": {"en": "judged in en", "ur": "judged in ur"}})
    results = GridResults(plan, store)
    read = results.rows

    def rows(key: str, *, columns: tuple[str, ...] | None = None) -> pa.Table | None:
        if key == "judged in en":
            return pa.table({"hit": pa.array([True, None] * 20)})
        return None if key == "judged in ur" else read(key, columns=columns)

    monkeypatch.setattr(results, "rows", rows)
    table = answers_of(results, judged)
    verdicts = [(row[0], row[-1]) for row in table.rows]
    assert table.columns[-1] == "judge:strict"
    assert verdicts[:3] == [("en", True), ("en", None), ("en", True)]
    assert {verdict for query, verdict in verdicts if query == "ur"} == {None}


def test_what_is_not_evaluated_has_none(small: tuple[Plan, Store], empty: Store) -> None:
    plan, _ = small
    assert answers_of(GridResults(plan, empty), plan.cells[0]).rows == []
