"""Do judges agree? Kappa with an interval, and sheets for human annotators."""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

import numpy as np

from xlharm.analysis.intervals import wilson
from xlharm.analysis.statistics import Interval
from xlharm.errors import UserError

_YES = {"yes", "y", "1", "true"}
_NO = {"no", "n", "0", "false"}


def cohen_kappa(one: Sequence[bool], other: Sequence[bool]) -> float | None:
    """Agreement of two raters beyond chance, (p_o - p_e) / (1 - p_e) (Cohen 1960); None where chance alone is 1."""
    a, b = np.asarray(one, float), np.asarray(other, float)
    if len(a) == 0:
        return None
    observed = float((a == b).mean())
    expected = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    return None if expected == 1 else (observed - expected) / (1 - expected)


def fleiss_kappa(ratings: Sequence[Sequence[bool]]) -> float | None:
    """Agreement of several raters, [items][raters] (Fleiss 1971); None where chance alone is 1."""
    table = np.asarray(ratings, float)
    if table.size == 0 or table.shape[1] < 2:
        return None
    raters = table.shape[1]
    yes = table.sum(1)
    counts = np.stack([yes, raters - yes], axis=1)
    observed = float(((counts**2).sum(1) - raters).mean() / (raters * (raters - 1)))
    expected = float(((counts.sum(0) / counts.sum()) ** 2).sum())
    return None if expected == 1 else (observed - expected) / (1 - expected)


def with_interval(
    kappa: Callable[[list[list[bool]]], float | None],
    ratings: Sequence[Sequence[bool]],
    *,
    items: Sequence[str] | None = None,
    seed: int = 0,
) -> Interval | None:
    """Return a kappa with a 95 % bootstrap interval over items.

    Where all agree no resample differs, but other items might: the lower limit is the kappa with as many items in
    disagreement, evenly spaced, as Wilson's interval of 0 of the items allows.

    Args:
        kappa: of [answers][raters].
        ratings: [answers][raters].
        items: which item each answer is about; those of one item, from many models, are drawn together, as they are
            no independent evidence. None: each about its own.
        seed: of the resampling.
    """
    rows = [list(r) for r in ratings]
    estimate = kappa(rows)
    if estimate is None:
        return None
    groups: dict[str, list[list[bool]]] = {}
    for item, row in zip(items or map(str, range(len(rows))), rows, strict=True):
        groups.setdefault(item, []).append(row)
    each, rng = list(groups.values()), np.random.default_rng(seed)
    draws = [kappa([row for i in rng.integers(0, len(each), len(each)) for row in each[i]]) for _ in range(1000)]
    low, high = np.quantile([d for d in draws if d is not None], [0.025, 0.975])
    if estimate == 1:
        low = min(low, _with_disagreement(kappa, each))
    return Interval(estimate, float(low), float(high))


def _with_disagreement(kappa: Callable[[list[list[bool]]], float | None], items: list[list[list[bool]]]) -> float:
    count = ceil(wilson(0, len(items))[1] * len(items))
    differ = {i * len(items) // count for i in range(count)}
    rows = [[not r[0], *r[1:]] if i in differ else r for i, answers in enumerate(items) for r in answers]
    value = kappa(rows)
    return 1.0 if value is None else value


def cohen_of(ratings: list[list[bool]]) -> float | None:
    """Return Cohen's kappa of [items][2]."""
    return cohen_kappa([r[0] for r in ratings], [r[1] for r in ratings])


@dataclass(frozen=True)
class SheetRow:
    """One answer for a human to judge; ``id`` finds it again."""

    id: str
    language: str
    measure: str
    question: str
    answer: str
    expected: str
    human: str = ""


_COLUMNS = tuple(SheetRow.__dataclass_fields__)


def write_sheet(rows: Iterable[SheetRow], path: Path) -> None:
    """Write a CSV for annotators. Text that a spreadsheet would run as a formula gets a quote before it."""
    with path.open("w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(_COLUMNS)
        writer.writerows([_harmless(str(v)) for v in asdict(row).values()] for row in rows)


def read_sheet(path: Path) -> dict[str, bool]:
    """Read human verdicts by id; rows without one are left out.

    Raises:
        UserError: the file, line and column of the first mistake.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if not rows:
        raise UserError(f"{path}: no rows")
    for column in ("id", "human"):
        if column not in rows[0][1]:
            raise UserError(f"{path}: expected a column {column!r}, found {', '.join(map(str, rows[0][1]))}")
    verdicts: dict[str, bool] = {}
    for line, row in rows:
        word = (row["human"] or "").strip().lower()
        if word and word not in _YES | _NO:
            raise UserError(f"{path}:{line}: human: expected yes or no, found {word!r}")
        if word and row["id"] in verdicts:
            raise UserError(f"{path}:{line}: id: {row['id']!r} is judged twice")
        if word:
            verdicts[row["id"] or ""] = word in _YES
    return verdicts


def _harmless(text: str) -> str:
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
