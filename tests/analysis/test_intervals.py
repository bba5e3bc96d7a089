"""Wilson's interval against published values."""

import pytest

from xlharm.analysis.intervals import wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (0, 20, 0.0, 0.1611),  # Newcombe 1998, method 3
        (1, 29, 0.0061, 0.1718),
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (20, 20, 0.8389, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_published(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="3 hits of 2"):
        wilson(3, 2)
