"""The view `findings`: each claim of the study with its statistic, its limits and a verdict."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from xlharm.analysis.charts import Chart, Estimate, Forest, Tone
from xlharm.analysis.claims import ALL, VERDICTS, Judged, judge, over_all
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.study import claims_of
from xlharm.analysis.view import View
from xlharm.analysis.wording import listed
from xlharm.config.findings import CLAIMS
from xlharm.config.grid import NONE

_NAMED = 8
"""Claims of one verdict that the summary names."""


@once
def findings(results: GridResults) -> tuple[Judged, ...]:
    """Judge the study's claims: a family over all contamination languages, and then in each of them.

    A family is one claim on one set and method. Its verdicts are wrong with a chance of at most ``findings.level``.
    """
    if not results.records:
        return ()
    judged = judge(claims_of(results), level=results.plan.grid.findings.level)
    sets = list(dict.fromkeys(one.claim.unlearn for one in judged))
    families: dict[tuple[str, str, str], list[Judged]] = {}
    for one in sorted(judged, key=lambda one: (sets.index(one.claim.unlearn), CLAIMS.index(one.claim.name))):
        families.setdefault(one.claim.family, []).append(one)
    return tuple(one for members in families.values() for one in (over_all(members), *members))


def summary(results: GridResults) -> tuple[str, ...]:
    """Return what is found over all contamination languages: a line for each verdict, and nothing without claims."""
    overall = [one for one in findings(results) if one.claim.contaminate == ALL]
    lines = []
    for verdict in VERDICTS:
        some = [one for one in overall if one.verdict == verdict]
        if some:
            count = f"{len(some)} of {len(overall)}"
            lines.append(f"{verdict[0].upper()}{verdict[1:]} ({count}): {'; '.join(_said(some, results))}.")
    return tuple(lines)


def _said(some: list[Judged], results: GridResults) -> list[str]:
    """Say each claim once, with the methods of which it was judged so; of many the first."""
    methods: dict[str, list[str]] = {}
    for one in some:
        methods.setdefault(one.claim.sentence, []).append(one.claim.method)
    several = len(results.plan.grid.methods) > 1
    words = [
        f"{sentence} (with {listed(names)})" if several and names != [NONE] else sentence
        for sentence, names in methods.items()
    ]
    return words if len(words) <= _NAMED else [*words[:_NAMED], f"{len(words) - _NAMED} more in the view `findings`"]


def _rows(results: GridResults) -> Iterator[dict[str, Any]]:
    for one in findings(results):
        claim, difference = one.claim, one.difference
        yield {
            "finding": claim.name, "claim": claim.sentence, "contaminate": claim.contaminate, "unlearn": claim.unlearn,
            "method": claim.method, "verdict": one.verdict, "why": one.why or None, "where": one.where or None,
            "difference": difference and difference.estimate, "low": difference and difference.low,
            "high": difference and difference.high, "threshold": one.threshold, "items": one.items or None,
            "seeds": one.seeds or None, "p": one.p, "p_holm": one.p_holm,
        }  # fmt: skip


def _charts(results: GridResults) -> tuple[Chart, ...]:
    """Draw the claims over all contamination languages, by unlearning set and method."""
    overall = [one for one in findings(results) if one.claim.contaminate == ALL and one.difference]
    methods = len({one.claim.method for one in overall} - {NONE}) > 1
    groups: dict[str, list[Estimate]] = {}
    for one in overall:
        words = f"unlearning {one.claim.unlearn}" if one.claim.unlearn != NONE else "before unlearning"
        title = f"{words}, {one.claim.method}" if methods and one.claim.method != NONE else words
        groups.setdefault(title, []).append(_estimate(one))
    return tuple(
        Forest(
            name=f"findings-{i}", title=f"Findings {title}", axis="difference that decides, points (bar: threshold)",
            rows=tuple(rows),
        )
        for i, (title, rows) in enumerate(groups.items(), 1)
    )  # fmt: skip


def _estimate(one: Judged) -> Estimate:
    if one.difference is None:
        raise ValueError("expected a claim with a difference")
    tones: dict[str, Tone] = {"holds": "good", "does not hold": "bad"}
    return Estimate(
        label=f"{one.claim.name} ({one.where})", value=one.difference.estimate, low=one.difference.low,
        high=one.difference.high, threshold=one.threshold, tone=tones.get(one.verdict, "open"),
    )  # fmt: skip


VIEW = View(
    name="findings",
    columns={
        **dict.fromkeys(("finding", "claim", "contaminate", "unlearn", "method", "verdict", "where"), pa.string()),
        **dict.fromkeys(("difference", "low", "high", "threshold"), pa.float64()),
        **dict.fromkeys(("items", "seeds"), pa.int64()),
        **dict.fromkeys(("p", "p_holm"), pa.float64()),
        "why": pa.string(),
    },
    rows=_rows,
    charts=_charts,
    title="Findings",
    sentence=(
        "The claims of the study (2406.13748), over all contamination languages and in each. difference: of the part "
        "that decides, in points: OF minus the clean control's, or as `where` says; low and high: its one-sided 95 % "
        "limits over items and seeds. Cleared: high is below the threshold, and QR is kept. Not cleared: low is above "
        "it. p after Holm over the contamination languages. With one seed a verdict is on these models."
    ),
)
