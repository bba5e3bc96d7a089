"""How a result is read: against its own model before unlearning, and OF only beside QR."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from xlharm.analysis.intervals import wilson
from xlharm.config.grid import NONE

QR_FALL = 0.20
"""QR that lost more than this share of its value before unlearning means a damaged model."""
DEGENERATE_HIGH = 20.0
"""From this share of empty or looping answers on (percent) a low OF says nothing."""
RISE_POINTS = 5.0
"""OF that rose by less than this, with intervals that overlap, is not worth a mark."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A percentage with its 95 % Wilson interval and the number of questions behind it."""

    value: float
    low: float
    high: float
    n: int

    def apart_above(self, other: "Rate") -> bool:
        """Whether this rate is higher and the two intervals do not touch."""
        return self.low > other.high


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One cell asked in one language; a measure without questions is None."""

    contaminate: str
    unlearn: str
    method: str
    seed: int
    query: str
    of: Rate | None
    qr: Rate | None
    off_language: float | None
    degenerate: float | None


@dataclass(frozen=True)
class Readings:
    """All readings of a grid, by cell and query language."""

    by_place: dict[tuple[str, str, str, int, str], Reading]

    @classmethod
    def of_table(cls, table: pa.Table) -> Self:
        """Take the rows of a results table."""
        by_place = {}
        for row in table.to_pylist():
            of = _rate(row["of"], n=row["n"])
            qr = _rate(row["qr"], n=row["n_qr"])
            kept = {name: row[name] for name in ("contaminate", "unlearn", "method", "seed", "query")}
            reading = Reading(**kept, of=of, qr=qr, off_language=row["off_language"], degenerate=row["degenerate"])
            by_place[place(reading)] = reading
        return cls(by_place)

    def get(self, contaminate: str, unlearn: str, method: str, seed: int, query: str) -> Reading | None:
        """Return a reading, or None when it is missing."""
        return self.by_place.get((contaminate, unlearn, method, seed, query))

    def before(self, reading: Reading) -> Reading | None:
        """Return the same model before it was made to unlearn; None when it is missing or is this one."""
        if reading.unlearn == NONE:
            return None
        return self.get(reading.contaminate, NONE, NONE, reading.seed, reading.query)

    def warnings(self, reading: Reading) -> tuple[str, ...]:
        """Say why a reading's OF must not be taken for success; nothing when nothing speaks against it."""
        warnings = []
        before = self.before(reading)
        if before and before.qr and reading.qr and reading.qr.value < (1 - QR_FALL) * before.qr.value:
            warnings.append(f"QR fell from {before.qr.value:.0f} to {reading.qr.value:.0f}")
        if reading.degenerate is not None and reading.degenerate >= DEGENERATE_HIGH:
            warnings.append(f"{reading.degenerate:.0f} % of the answers are empty or loop")
        return tuple(warnings)

    def rise(self, reading: Reading) -> str:
        """Say whether OF rose against before: ``clear`` (intervals apart), ``maybe``, or nothing."""
        before = self.before(reading)
        if not (before and before.of and reading.of):
            return ""
        if reading.of.apart_above(before.of):
            return "clear"
        return "maybe" if reading.of.value - before.of.value >= RISE_POINTS else ""


def place(reading: Reading) -> tuple[str, str, str, int, str]:
    """Return where a reading stands in the grid."""
    return reading.contaminate, reading.unlearn, reading.method, reading.seed, reading.query


def highest(readings: Iterable[Reading]) -> Reading | None:
    """Return the reading with the highest OF (the first of equals), or None without any."""
    return max((r for r in readings if r.of), key=lambda r: r.of.value if r.of else 0.0, default=None)


def whole(value: float) -> str:
    """Write a percentage without decimals, never rounding something to nothing or a part to all."""
    if 0 < value <= 0.5:
        return "<1"
    return ">99" if 99.5 <= value < 100 else f"{value:.0f}"


def _rate(value: float | None, *, n: int) -> Rate | None:
    """Take the counts back out of a table's two decimals, so that nothing shown has been rounded twice."""
    if value is None:
        return None
    hits = round(value * n / 100)
    low, high = wilson(hits, n)
    return Rate(value=100 * hits / n, low=100 * low, high=100 * high, n=n)
