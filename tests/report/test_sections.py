from math import inf

import pyarrow as pa
import pytest

from xlharm.report.sections import kept_columns, shown_value


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [(None, "of", "–"), (True, "kept", "yes"), (0.00012345, "p_holm", "0.000123"), (12.34, "of", "12.3"),
     (0.034, "beta_p", "0.034"), (-0.4321, "rho", "-0.432"), (0.0, "of", "0.0"), (1.25, "half_life", "1.2"),
     (inf, "ppl_clean", "inf"), (inf, "of", "inf"), ("de", "query", "de")],
)  # fmt: skip
def test_values_are_written_by_their_kind(value: object, column: str, text: str) -> None:
    assert shown_value(value, column) == text


def test_columns_that_say_nothing_are_left_out() -> None:
    table = pa.table({"grid": ["g"], "cell": ["de/en/npo/0"], "method": ["npo"], "of": [1.0], "qr": pa.array([None])})
    assert kept_columns(table) == ["cell", "of"]
    assert kept_columns(table.drop_columns(["cell"])) == ["method", "of"]
