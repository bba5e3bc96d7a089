"""What unlearning did: OF after minus before and against the clean control, paired item by item."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from xlharm.analysis.contrasts import Contrasts, Pair
from xlharm.analysis.items import Hits, common
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.statistics import Interval, false_discovery, holm, permutation_paired, permutation_whole
from xlharm.analysis.view import View, columns
from xlharm.plan.cells import Cell


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One cell in one query language against its model before unlearning, and against the clean control.

    Attributes:
        n: items compared.
        before: OF before, percent.
        after: OF after, percent.
        change: after - before in points, with its paired 95 % interval over items (``analysis.contrasts``).
        excess: after minus the clean control of the seed, alike; None without a control.
        p: of a paired permutation test of the change over items, two-sided.
        p_holm: the same after Holm's correction over the query languages of the cell.
        p_fdr: the same after Benjamini and Hochberg's.
        verdict: ``fell`` or ``rose`` where the p that ``findings.correction`` names is below ``findings.level``; a rise
            is *reinforcement*.
    """

    cell: Cell
    query: str
    n: int
    before: float
    after: float
    change: Interval
    excess: Interval | None
    p: float
    p_holm: float
    p_fdr: float
    verdict: Literal["fell", "rose", "no clear change"]


@once
def effects(results: GridResults) -> tuple[Effect, ...]:
    """Compare every cell that has unlearned, as far as it is evaluated, in the grid's order.

    The family of a correction is one cell, with its query languages: more methods, sets, seeds or contamination
    languages leave the verdicts on the cells that are there as they are.
    """
    found: list[tuple[Cell, str, Hits, Hits, Hits | None]] = []
    for before, cell in results.pairs():
        control = results.control(cell.seed)
        for query in cell.evaluations:
            one, two = results.rates_of(before, query), results.rates_of(cell, query)
            clean = results.rates_of(control, query) if control else None
            if one and two and one.of and two.of:
                earlier, later = common(one.of, two.of)
                if later:
                    found.append((cell, query, earlier, later, clean.of if clean and clean.of else None))
    changes = intervals([(later, earlier) for _, _, earlier, later, _ in found])
    pairs = {i: (later, clean) for i, (*_, later, clean) in enumerate(found) if clean}
    excesses = dict(zip(pairs, intervals(list(pairs.values())), strict=True))
    p = [_p(earlier, later, seed=cell.seed) for cell, _, earlier, later, _ in found]
    families = [cell.name for cell, *_ in found]
    p_holm, p_fdr = _by_family(p, families, holm), _by_family(p, families, false_discovery)
    settings = results.plan.grid.findings
    deciding = {"holm": p_holm, "fdr": p_fdr, "none": p}[settings.correction]
    return tuple(
        Effect(
            cell=cell,
            query=query,
            n=len(later.items),
            before=100 * earlier.rate,
            after=100 * later.rate,
            change=changes[i],
            excess=excesses.get(i),
            p=p[i],
            p_holm=p_holm[i],
            p_fdr=p_fdr[i],
            verdict=_verdict(changes[i].estimate, clear=deciding[i] < settings.level),
        )
        for i, (cell, query, earlier, later, _) in enumerate(found)
    )


def intervals(pairs: Sequence[tuple[Hits, Hits]]) -> list[Interval]:
    """Return first minus second in points, each with its 95 % interval over the items that both have.

    Raises:
        ValueError: a pair has no item in common.
    """
    tables = [Pair.of_hits([first], [second]) for first, second in pairs]
    if any(table is None for table in tables):
        raise ValueError("expected evaluations with items in common")
    contrasts = Contrasts.of([table for table in tables if table])
    bounds = np.stack([contrasts.estimate, *contrasts.limits()], axis=1) * 100
    return [Interval(*row) for row in bounds.tolist()]


def _p(earlier: Hits, later: Hits, *, seed: int) -> float:
    if np.array_equal(earlier.questions, later.questions):
        return permutation_whole(later.hits - earlier.hits)
    return permutation_paired(earlier.shares, later.shares, seed=seed)


def _by_family(p: Sequence[float], families: Sequence[str], correct: Any) -> list[float]:
    """Correct p-values within each family."""
    places: dict[str, list[int]] = {}
    for i, family in enumerate(families):
        places.setdefault(family, []).append(i)
    corrected = [0.0] * len(p)
    for members in places.values():
        for i, value in zip(members, correct([p[i] for i in members]), strict=True):
            corrected[i] = value
    return corrected


def _verdict(change: float, *, clear: bool) -> Literal["fell", "rose", "no clear change"]:
    if not clear or change == 0:
        return "no clear change"
    return "rose" if change > 0 else "fell"


def _rows(results: GridResults) -> list[dict[str, Any]]:
    return [
        {
            "cell": e.cell.name, "contaminate": e.cell.contaminate, "unlearn": e.cell.unlearn,
            "method": e.cell.method, "seed": e.cell.seed, "query": e.query, "n": e.n, "before": e.before,
            "after": e.after, "change": e.change.estimate, "change_lo": e.change.low, "change_hi": e.change.high,
            "excess": e.excess and e.excess.estimate, "excess_lo": e.excess and e.excess.low,
            "excess_hi": e.excess and e.excess.high,
            "p": e.p, "p_holm": e.p_holm, "p_fdr": e.p_fdr, "verdict": e.verdict,
        }
        for e in effects(results)
    ]  # fmt: skip


VIEW = View(
    name="effects",
    columns={
        **columns(
            "before", "after", "change", "change_lo", "change_hi", "excess", "excess_lo", "excess_hi", "p", "p_holm",
            "p_fdr", whole=("seed", "n"),
        ),
        "verdict": pa.string(),
    },
    rows=_rows,
    title="What unlearning changed",
    sentence=(
        "change: OF after minus before in points, the same n items both times; excess: OF after minus the clean "
        "control's. 95 % paired intervals over items; p of a paired permutation test of the change, corrected after "
        "Holm (and after Benjamini and Hochberg) over the query languages of a cell. A rise is called reinforcement."
    ),
)  # fmt: skip
