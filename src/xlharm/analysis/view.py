"""What a view is: a table on a grid's results beside the cells."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from xlharm.analysis.charts import Chart
from xlharm.analysis.results import GridResults

_AXES = ("cell", "contaminate", "unlearn", "method")


@dataclass(frozen=True, kw_only=True)
class View:
    """A table on a grid's results: `xlharm results --view NAME`, and a section of the report.

    Attributes:
        name: as the command line calls it.
        columns: names and types, in the order shown; percentages are 0–100.
        rows: computes the rows; columns that a row lacks are null.
        title: heading in the report; a view without one is not in the report.
        sentence: what the columns mean, for the report.
        charts: figures that belong to the table.
    """

    name: str
    columns: Mapping[str, pa.DataType]
    rows: Callable[[GridResults], Iterable[Mapping[str, Any]]]
    title: str = ""
    sentence: str = ""
    charts: Callable[[GridResults], Sequence[Chart]] = lambda _results: ()

    def table(self, results: GridResults) -> pa.Table:
        """Compute the view, once for these results; floats are cut to six digits."""
        return results.computed(self.rows, lambda: table_of(self.rows(results), self.columns))


def table_of(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, pa.DataType]) -> pa.Table:
    """Arrange rows as a table; columns that a row lacks are null, and floats are cut to six digits."""
    some = list(rows)
    arrays = []
    for name, kind in columns.items():
        values = [row.get(name) for row in some]
        if pa.types.is_floating(kind):
            values = [None if v is None else float(f"{v:.6g}") for v in values]
        arrays.append(pa.array(values, kind))
    return pa.Table.from_arrays(arrays, schema=pa.schema(list(columns.items())))


def columns(*numbers: str, text: tuple[str, ...] = _AXES, whole: tuple[str, ...] = ("seed",)) -> dict[str, pa.DataType]:
    """Return the columns of a view on cells and query languages: texts, whole numbers, ``query``, numbers."""
    return {
        **dict.fromkeys(text, pa.string()),
        **dict.fromkeys(whole, pa.int64()),
        "query": pa.string(),
        **dict.fromkeys(numbers, pa.float64()),
    }
