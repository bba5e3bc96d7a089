"""Claims on rates and their verdicts: an equivalence or a difference is shown, its opposite is, or neither.

A claim consists of parts. A part says that a difference of two rates lies above or below a threshold. A claim holds
where every part does (an intersection-union test: no correction is needed), or where some part does (Bonferroni over
the parts). Its opposite is tested in the same way, so that "does not hold" is a result and not the want of one.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal

import numpy as np

from xlharm.analysis.contrasts import Contrasts, Pair
from xlharm.analysis.statistics import Interval, holm

Verdict = Literal["holds", "does not hold", "cannot be decided"]
VERDICTS: tuple[Verdict, ...] = ("holds", "does not hold", "cannot be decided")
ALL = "all"
"""In place of a contamination language."""
_MOST_FACTOR = 400.0
"""More than so many times the items or seeds there are is no advice."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One difference of rates and where it must lie; ``threshold`` is a fraction of 1."""

    label: str
    pair: Pair
    threshold: float
    above: bool


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim on one contamination language.

    Attributes:
        name: which claim; claims of the same name, set and method are a family.
        sentence: what it says.
        contaminate: the contamination language.
        unlearn: the unlearning set, as the grid names it; `none` before unlearning.
        method: the method.
        parts: what must be shown.
        every: whether all parts must hold, or some.
        why_not: why it cannot be decided whatever its parts say; "" otherwise.
        everywhere: whether the claim over all contamination languages is that it holds in each of them, or in some.
    """

    name: str
    sentence: str
    contaminate: str
    unlearn: str
    method: str
    parts: tuple[Part, ...]
    every: bool = True
    why_not: str = ""
    everywhere: bool = True

    @property
    def family(self) -> tuple[str, str, str]:
        """What its p-values are corrected within."""
        return self.name, self.unlearn, self.method


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim with its verdict.

    Attributes:
        claim: what was judged.
        where: the part that decides: the weakest of all, or the strongest of some.
        difference: of that part in points, with its one-sided limits at the level.
        threshold: of that part, in points.
        items: behind it.
        seeds: behind it.
        p: one-sided p-value of the verdict; where it cannot be decided, of the likelier one.
        p_holm: the same after Holm's correction within the family.
        verdict: the verdict.
        why: what would decide it, or why nothing can.
    """

    claim: Claim
    where: str = ""
    difference: Interval | None = None
    threshold: float | None = None
    items: int = 0
    seeds: int = 0
    p: float | None = None
    p_holm: float | None = None
    verdict: Verdict = "cannot be decided"
    why: str = ""
    both: tuple[float, float] = field(default=(1.0, 1.0), repr=False)


def judge(claims: Sequence[Claim], *, level: float = 0.05) -> list[Judged]:
    """Judge claims, in their order.

    Args:
        claims: of any number of families.
        level: highest chance of a wrong "holds", and of a wrong "does not hold", in a family.
    """
    parts = [part for claim in claims for part in claim.parts]
    contrasts = Contrasts.of([part.pair for part in parts])
    thresholds = np.array([part.threshold for part in parts])
    above = np.array([part.above for part in parts], dtype=bool)
    p_above, p_below = contrasts.p_above(thresholds), contrasts.p_below(thresholds)
    for_it, against = np.where(above, p_above, p_below), np.where(above, p_below, p_above)
    distance = (contrasts.estimate - thresholds) * np.where(above, 1, -1)
    low, high = contrasts.limits(1 - level)
    sizes = Counter(claim.family for claim in claims)
    # at Holm's first level, which is what a verdict needs at most
    first_levels = [level / sizes[claim.family] for claim in claims for _ in claim.parts]
    strict = np.stack(contrasts.limits(1 - np.array(first_levels)), axis=1).tolist()
    start, judged = 0, []
    for claim in claims:
        mine = slice(start, start + len(claim.parts))
        start = mine.stop
        if not claim.parts or claim.why_not:
            judged.append(Judged(claim=claim, why=claim.why_not or "nothing of it is evaluated"))
            continue
        both = _combined(for_it[mine], against[mine], every=claim.every)
        order = np.lexsort((-distance[mine], for_it[mine]))
        i = mine.start + int(order[-1] if claim.every else order[0])
        difference = Interval(*(100 * float(x[i]) for x in (contrasts.estimate, low, high)))
        judged.append(
            Judged(
                claim=claim, where=parts[i].label, difference=difference, threshold=100 * parts[i].threshold,
                items=int(contrasts.items[i]), seeds=int(contrasts.seeds[i]), both=both,
                why=_needed(contrasts, i, limits=strict[i], threshold=parts[i].threshold),
            )
        )  # fmt: skip
    return _corrected(judged, level=level)


def over_all(judged: Sequence[Judged]) -> Judged:
    """Return the verdict of a family over all contamination languages, which follows from those in each.

    The claim is that it holds in every language, or in some: it holds and does not hold with no more error than the
    family has.

    Args:
        judged: the claims of one family.
    """
    everywhere = judged[0].claim.everywhere
    strict: Verdict = "does not hold" if everywhere else "holds"
    easy: Verdict = "holds" if everywhere else "does not hold"
    decisive = [one for one in judged if one.verdict == strict]
    open_ones = [one for one in judged if one.verdict == "cannot be decided"]
    verdict: Verdict = strict if decisive else "cannot be decided" if open_ones else easy
    some = decisive or open_ones or list(judged)
    best = min if decisive else max
    deciding = best(some, key=lambda one: 1.0 if one.p_holm is None else one.p_holm)
    where = f"{deciding.claim.contaminate}: {deciding.where}" if deciding.where else ""
    claim = replace(deciding.claim, contaminate=ALL, parts=())
    return replace(deciding, claim=claim, where=where, p=None, verdict=verdict)


def _combined(for_it: np.ndarray, against: np.ndarray, *, every: bool) -> tuple[float, float]:
    """Return the p-values of "holds" and of "does not hold"."""
    count = len(for_it)
    if every:
        return float(for_it.max()), min(1.0, count * float(against.min()))
    return min(1.0, count * float(for_it.min())), float(against.max())


def _corrected(judged: list[Judged], *, level: float) -> list[Judged]:
    families: dict[tuple[str, str, str], list[int]] = {}
    for i, one in enumerate(judged):
        if one.difference is not None:
            families.setdefault(one.claim.family, []).append(i)
    for members in families.values():
        sides = [holm([judged[i].both[side] for i in members]) for side in (0, 1)]
        for i, holds, fails in zip(members, *sides, strict=True):
            verdict: Verdict = "holds" if holds < level else "does not hold" if fails < level else "cannot be decided"
            side = int(fails < holds)
            judged[i] = replace(
                judged[i], p=judged[i].both[side], p_holm=(holds, fails)[side], verdict=verdict,
                why=judged[i].why if verdict == "cannot be decided" else "",
            )  # fmt: skip
    return judged


def _needed(contrasts: Contrasts, i: int, *, limits: Sequence[float], threshold: float) -> str:
    """Say how many items or seeds would decide a part if its estimate were the truth.

    Args:
        contrasts: of all parts.
        i: which part.
        limits: its limits at Holm's first level.
        threshold: of the part.
    """
    low, high = limits
    estimate = float(contrasts.estimate[i])
    reach = estimate - low if estimate > threshold else high - estimate
    distance = abs(estimate - threshold)
    items, seeds = int(contrasts.items[i]), int(contrasts.seeds[i])
    if distance * _MOST_FACTOR**0.5 <= reach:
        return f"too near to {100 * threshold:.0f} points for any number of items"
    factor = (reach / distance) ** 2
    between, over = float(contrasts.both_items[i]), float(contrasts.both_seeds[i])
    share = between / (between + over) if seeds > 1 else 1.0
    left = 1 / factor - (1 - share)
    if left > 0 and share / left <= _MOST_FACTOR:
        return f"n needed: about {ceil(items * max(share / left, 1 + 1 / items))} items"
    return f"seeds needed: about {ceil(seeds * factor)}"
