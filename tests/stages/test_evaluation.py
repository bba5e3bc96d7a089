"""Counting verdicts of an evaluation."""

import pyarrow as pa

from xlharm.stages.evaluation import SCHEMA, count


def test_verdicts_that_nobody_could_give_are_not_counted() -> None:
    row = {"item": "a", "measure": "of", "question": "q", "answer": "x", "expected": ["y"], "hit": False}
    flags = [(None, True), (True, False), (False, False)]
    rows = [{**row, "off_language": off, "degenerate": bad, "refusal": False} for off, bad in flags]
    counted = count(pa.Table.from_pylist(rows, schema=SCHEMA))
    assert counted["off_language"] == {"hits": 1, "n": 2}
    assert counted["degenerate"] == {"hits": 1, "n": 3}
