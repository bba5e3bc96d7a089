"""What a search found: every trial at its best, the winner, and whether others can be told from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from xlharm.analysis.ranking import Ranked, compared
from xlharm.analysis.reading import DEGENERATE_HIGH, whole
from xlharm.analysis.results import GridResults
from xlharm.analysis.statistics import Interval
from xlharm.analysis.wording import shown_source
from xlharm.config.search import STEPS, Point, written
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.plan.tuning import Tuning
from xlharm.store.ledger import TrialEntry
from xlharm.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A cell after unlearning, over its seeds and query languages; percentages.

    Attributes:
        whole: all seeds together.
        seeds: each seed alone.
        degenerate: answers that are empty or loop.
    """

    whole: Ranked
    seeds: tuple[Ranked, ...]
    degenerate: float

    def damage(self, fall: float) -> str:
        """Say why a low OF here is no success: QR fell by more than ``fall`` percent in a seed; "" when it did not."""
        least = min(one.utility.estimate for one in self.seeds)
        if least < 100 - fall:
            return f"QR fell by {100 - least:.0f} %"
        if self.degenerate >= DEGENERATE_HIGH:
            return f"{self.degenerate:.0f} % of the answers are empty or loop"
        return ""

    def score(self, fall: float) -> float:
        """Return what a search makes low: OF; a damaged model is worse than any other, the more the worse."""
        if not self.damage(fall):
            return self.whole.of.estimate
        return 100 + max(100 - fall - min(one.utility.estimate for one in self.seeds), 0.0)


def measured(plan: Plan, store: Store) -> Measured | None:
    """Read a trial's plan; None when something of it is missing, or nothing was asked for OF or QR."""
    results = GridResults(plan, store)
    pairs = list(results.pairs())
    keys = [key for pair in pairs for cell in pair for key in cell.evaluations.values()]
    if any(results.rates(key) is None for key in keys):
        return None
    compared_all = [_compared(results, some) for some in (pairs, *([pair] for pair in pairs))]
    together, *alone = (one for one in compared_all if one) if all(compared_all) else (None,)
    if together is None:
        return None
    counted = [results.record(k).metrics["degenerate"] for _, c in pairs for k in c.evaluations.values()]
    share = sum(c["hits"] for c in counted) / max(sum(c["n"] for c in counted), 1)
    return Measured(whole=together, seeds=tuple(alone), degenerate=100 * share)


def _compared(results: GridResults, pairs: Sequence[tuple[Cell, Cell]]) -> Ranked | None:
    return compared(results, pairs[0][1].unlearn, pairs[0][1].method, pairs)


def score(plan: Plan, store: Store, *, fall: float) -> Mapping[str, float]:
    """Return what Ray Tune is told of a finished plan.

    Raises:
        UserError: the corpus has nothing to choose by.
    """
    found = measured(plan, store)
    if found is None:
        raise UserError(f"corpus {plan.grid.corpus!r}: has no OF or no QR questions in the grid's languages")
    of, utility = found.whole.of.estimate, found.whole.utility.estimate
    return {"score": found.score(fall), "of": of, "utility": utility}


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial at its best rung.

    Attributes:
        number: of the trial, from 1.
        tried: what became of it.
        setting: its values there.
        measured: None when it has no result.
    """

    number: int
    tried: TrialEntry
    setting: Point
    measured: Measured | None


@dataclass(frozen=True, kw_only=True)
class Found:
    """A search's outcome.

    Attributes:
        tuning: what was searched.
        fall: percent by which QR may fall.
        rows: the trials, best first, those that lost utility behind.
        all: every rung of every trial.
    """

    tuning: Tuning
    fall: float
    rows: tuple[TrialRow, ...]
    all: tuple[TrialRow, ...]

    @property
    def winner(self) -> TrialRow | None:
        """The lowest OF among the settings that kept QR, or None when none did."""
        first = next(iter(self.rows), None)
        return first if first and first.measured and not first.measured.damage(self.fall) else None

    @property
    def summary(self) -> str:
        """Where the winner's numbers are from, in a line."""
        won = self.winner
        assert won is not None
        assert won.measured is not None
        m, corpus = won.measured.whole, shown_source(self.tuning.grid.corpus)
        searched = "; ".join(f"{field} {domain}" for field, domain in self.tuning.space.items())
        return (
            f"best of {len(self.rows)} trials ({searched}) of {self.tuning.cell} on {corpus}: "
            f"OF {m.of.estimate:.1f} ({m.of.low:.1f}–{m.of.high:.1f}), QR {m.utility.estimate:.0f} % of before"
        )

    @property
    def close(self) -> int:
        """How many others kept QR and cannot be told from the winner: their OF's interval reaches its own."""
        won = self.winner
        others = [r.measured for r in self.rows if r is not won and r.measured]
        high = won.measured.whole.of.high if won and won.measured else -1.0
        return sum(not m.damage(self.fall) and m.whole.of.low <= high for m in others)


def findings(tuning: Tuning, tried: Sequence[TrialEntry], store: Store, *, fall: float) -> Found:
    """Read all that a search has in the store."""
    every: list[TrialRow] = []
    best: list[TrialRow] = []
    for i, one in enumerate(tried):
        settings = tuning.settings(one.point)
        rows = [
            TrialRow(number=i + 1, tried=one, setting=s, measured=measured(tuning.plan(s), store))
            for s in settings[: max(one.reached, 1)]
        ]
        every += rows
        best.append(min(rows, key=lambda r: _order(r, fall=fall)))
    best.sort(key=lambda r: _order(r, fall=fall))
    return Found(tuning=tuning, fall=fall, rows=tuple(best), all=tuple(every))


def _order(row: TrialRow, *, fall: float) -> tuple[float, float, float, int]:
    """Order by OF among those that kept QR; then more QR kept, fewer steps, the earlier trial."""
    if row.measured is None:
        return (1000.0, 0.0, 0.0, row.number)
    kept = row.measured.whole.utility.estimate
    return (row.measured.score(fall), -kept, float(row.setting.get(STEPS, 0)), row.number)


def table_of(found: Found) -> Table:
    """Draw the trials, best first."""
    fields = list(dict.fromkeys([*found.tuning.space, *([STEPS] if found.tuning.rungs else [])]))
    seeds = len(found.tuning.grid.seeds) > 1
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("", "trial", *fields, "OF", "95 %", *(["by seed"] if seeds else []), "QR", "95 %", "QR kept"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    won = found.winner
    for row in found.rows:
        cells = [str(row.number), *(written(row.setting[f]) for f in fields), *_cells(row.measured, seeds=seeds)]
        style = "bold green" if row is won else ""
        table.add_row("▶" if row is won else "", *cells, Text(_told(row, found)), style=style)
    return table


def _cells(m: Measured | None, *, seeds: bool) -> list[str]:
    if m is None:
        return ["·"] * (6 if seeds else 5)
    each = sorted(one.of.estimate for one in m.seeds)
    spread = [f"{whole(each[0])}–{whole(each[-1])}"] if seeds else []
    return [*_pair(m.whole.of), *spread, *_pair(m.whole.qr), f"{m.whole.utility.estimate:.0f} %"]


def _pair(interval: Interval) -> tuple[str, str]:
    return f"{interval.estimate:.1f}", f"{whole(interval.low)}–{whole(interval.high)}"


def _told(row: TrialRow, found: Found) -> str:
    """Say what is to be known of a trial in a few words."""
    told = []
    if row.measured is None:
        told.append(row.tried.why or "no result yet")
    elif damage := row.measured.damage(found.fall):
        told.append(damage)
    if not found.tuning.changes(row.setting):
        told.append("as in the grid")
    if row.tried.ended == "stopped":
        told.append(f"stopped at {found.tuning.rungs[row.tried.reached - 1]}")
    return "; ".join(told)


def plain(found: Found) -> dict[str, Any]:
    """Return the outcome for programs."""
    won = found.winner
    return {
        "method": found.tuning.name,
        "search": {field: str(domain) for field, domain in found.tuning.space.items()},
        "rungs": list(found.tuning.rungs),
        "corpus": found.tuning.grid.corpus,
        "max_qr_fall": found.fall,
        "winner": _plain(won, found) if won else None,
        "close": found.close,
        "trials": [_plain(row, found) for row in found.all],
    }


def _plain(row: TrialRow, found: Found) -> dict[str, Any]:
    told: dict[str, Any] = {"trial": row.number, "ended": row.tried.ended, "values": row.setting}
    m = row.measured
    if m is None:
        return {**told, "why": row.tried.why}
    intervals = {"of": m.whole.of, "qr": m.whole.qr, "qr_kept": m.whole.utility}
    for name, interval in intervals.items():
        told |= {name: interval.estimate, f"{name}_lo": interval.low, f"{name}_hi": interval.high}
    told |= {"of_before": m.whole.before, "qr_before": m.whole.qr_before, "degenerate": m.degenerate}
    told["of_by_seed"] = [one.of.estimate for one in m.seeds]
    return {**told, "kept": not m.damage(found.fall)}
