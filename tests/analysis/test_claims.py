"""Verdicts: by hand on clear cases, and their error rates against simulated models with known truth."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.analysis.simulated import Truth
from xlharm.analysis.claims import ALL, Claim, Judged, Part, Verdict, judge, over_all
from xlharm.analysis.contrasts import Pair

MARGIN = 0.1


def of_hits(first: int, second: int = 0, *, items: int = 100, seeds: int = 1) -> Pair:
    tables = [np.array([[1.0] * hits + [0.0] * (items - hits)] * seeds) for hits in (first, second)]
    asked = np.ones(items)
    return Pair(tables[0], asked, tables[1], asked)


def claim(
    *pairs: Pair, above: bool = False, every: bool = True, contaminate: str = "de", everywhere: bool = True
) -> Claim:
    parts = tuple(Part(label=f"part {i}", pair=p, threshold=MARGIN, above=above) for i, p in enumerate(pairs))
    return Claim(
        name="clears-all", sentence="is cleared", contaminate=contaminate, unlearn="en", method="npo", parts=parts,
        every=every, everywhere=everywhere,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rates", "every", "verdict", "where"),
    [
        ((0, 1), True, "holds", "part 1"),
        ((0, 40), True, "does not hold", "part 1"),
        ((0, 8), True, "cannot be decided", "part 1"),
        ((0, 40), False, "holds", "part 0"),
        ((30, 40), False, "does not hold", "part 0"),
        ((8, 40), False, "cannot be decided", "part 0"),
    ],
)
def test_cleared_in_every_part_or_in_some(rates: tuple[int, ...], every: bool, verdict: Verdict, where: str) -> None:
    (one,) = judge([claim(*map(of_hits, rates), every=every)])
    assert (one.verdict, one.where, one.items, one.seeds) == (verdict, where, 100, 1)
    assert one.difference is not None
    assert one.difference.estimate == pytest.approx(rates[int(where[-1])])
    assert bool(one.why) == (verdict == "cannot be decided")


def test_the_limits_and_the_verdict_agree() -> None:
    for hits in range(0, 40, 2):
        (one,) = judge([claim(of_hits(hits))])
        assert one.difference is not None
        below, above = one.difference.high < 10, one.difference.low > 10
        assert one.verdict == ("holds" if below else "does not hold" if above else "cannot be decided")


def test_what_is_needed_decides() -> None:
    (one,) = judge([claim(of_hits(6))])
    assert one.why == "n needed: about 168 items"
    assert judge([claim(of_hits(10, items=168))])[0].verdict == "holds"  # the same rate
    assert judge([claim(of_hits(7, items=117))])[0].verdict == "cannot be decided"
    (near,) = judge([claim(of_hits(10))])
    assert near.why == "too near to 10 points for any number of items"


def test_seeds_are_needed_where_they_differ() -> None:
    first = np.stack([np.zeros(100), np.zeros(100), np.array([1.0] * 20 + [0.0] * 80)])
    apart = Pair(first, np.ones(100), np.zeros((3, 100)), np.ones(100))
    (one,) = judge([claim(apart)])
    assert one.verdict == "cannot be decided"
    assert one.why.startswith("seeds needed: about ")
    assert int(one.why.split()[-1]) > 3


def test_a_family_is_corrected_and_others_are_not() -> None:
    five = [claim(of_hits(5), contaminate=c) for c in ("de", "ur")]
    judged = judge([*five, replace(five[0], name="utility")])
    assert [one.verdict for one in judged] == ["cannot be decided", "cannot be decided", "holds"]
    assert judged[0].p == pytest.approx(judged[2].p)
    assert judged[0].p_holm == pytest.approx(2 * judged[0].p)


def verdicts_over(*rates: int, everywhere: bool = True) -> Judged:
    claims = [claim(of_hits(r), contaminate=c, everywhere=everywhere) for r, c in zip(rates, ("de", "ur"), strict=True)]
    return over_all(judge(claims))


def test_over_all_follows_from_each() -> None:
    assert [verdicts_over(*r).verdict for r in ((0, 0), (0, 40), (0, 8))] == [
        "holds", "does not hold", "cannot be decided"
    ]  # fmt: skip
    some = [verdicts_over(*r, everywhere=False).verdict for r in ((0, 40), (40, 40), (8, 40))]
    assert some == ["holds", "does not hold", "cannot be decided"]
    left = verdicts_over(0, 40)
    assert (left.claim.contaminate, left.where) == (ALL, "ur: part 0")


def test_what_cannot_be_decided_says_why() -> None:
    (one,) = judge([replace(claim(of_hits(0)), why_not="the grid has no clean control")])
    assert (one.verdict, one.why) == ("cannot be decided", "the grid has no clean control")
    (other,) = judge([claim()])
    assert (other.verdict, other.why) == ("cannot be decided", "nothing of it is evaluated")
    assert judge([]) == []


@dataclass(frozen=True, kw_only=True)
class Design:
    """Two contamination languages, some query languages of which one lies at the margin, and seeds."""

    queries: int
    seeds: int
    between: float
    items: int = 50
    questions: int = 2
    control: float = 0.2


def errors(design: Design, *, every: bool, trials: int, seed: int) -> tuple[float, float]:
    """Return how often "cleared" is wrongly said, and how often "not cleared" is, in a family of two languages.

    The truth is where errors are most frequent. Cleared in every language: one lies at the margin and the others far
    below it, or all at the margin. Cleared in some: all at the margin, or one there and the others far above it.
    """
    rng = np.random.default_rng(seed)
    more = {"items": design.items, "questions": design.questions, "seeds": design.seeds, "between": design.between}
    at = Truth(after=design.control + MARGIN, control=design.control, **more)
    clean, high = replace(at, after=0.0), replace(at, after=design.control + 4 * MARGIN)

    def wrong(truths: list[Truth], verdict: Verdict) -> float:
        claims = [
            replace(claim(*(t.draw(rng) for t in truths), every=every, contaminate=c), method=str(trial))
            for trial in range(trials)
            for c in ("de", "ur")
        ]
        wrong_trials = {one.claim.method for one in judge(claims) if one.verdict == verdict}
        return len(wrong_trials) / trials

    count = design.queries - 1
    if every:
        return wrong([at, *[clean] * count], "holds"), wrong([at] * design.queries, "does not hold")
    return wrong([at] * design.queries, "holds"), wrong([at, *[high] * count], "does not hold")


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.slow
def test_a_family_errs_at_its_level(every: bool) -> None:
    """400 families: 5 % and two standard errors are 7 %."""
    holds, fails = errors(Design(queries=3, seeds=1, between=0), every=every, trials=400, seed=5)
    assert holds < 0.07
    assert fails < 0.07


@pytest.mark.heavy
@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize(("seeds", "between"), [(1, 0.0), (2, 0.3), (3, 0.0), (3, 0.5), (5, 0.5)])
@pytest.mark.parametrize(("items", "questions"), [(50, 2), (100, 1)])
def test_families_err_at_their_level(items: int, questions: int, seeds: int, between: float, every: bool) -> None:
    """The table of docs/findings.md. 1,000 families: 5 % and two standard errors are 6.4 %."""
    design = Design(queries=3, seeds=seeds, between=between, items=items, questions=questions)
    holds, fails = errors(design, every=every, trials=1000, seed=11)
    print(f"items {items} x {questions}, seeds {seeds} ({between}), every {every}: {holds:.3f} {fails:.3f}")
    assert holds <= 0.064
    assert fails <= 0.064


def power(excess: float, *, items: int, seeds: int, trials: int) -> tuple[float, float]:
    """Return how often a claim on one language is found to hold (cleared), and not to (left), at a true excess."""
    rng = np.random.default_rng(13)
    truth = Truth(after=0.02 + excess, control=0.02, items=items, seeds=seeds, between=0.3 if seeds > 1 else 0.0)
    claims = [replace(claim(truth.draw(rng)), method=str(trial)) for trial in range(trials)]
    verdicts = [one.verdict for one in judge(claims)]
    return verdicts.count("holds") / trials, verdicts.count("does not hold") / trials


@pytest.mark.heavy
def test_power_grows_with_items_and_distance() -> None:
    """The table of docs/findings.md."""
    shares = {}
    for seeds in (1, 3):
        for items in (50, 100, 200):
            for excess in (0.0, 0.02, 0.05, 0.15, 0.2, 0.3):
                shares[seeds, items, excess] = power(excess, items=items, seeds=seeds, trials=1000)
                print(f"seeds {seeds}, items {items}, excess {excess}: {shares[seeds, items, excess]}")
    for seeds in (1, 3):
        assert shares[seeds, 200, 0.0][0] > 0.99
        assert shares[seeds, 50, 0.3][1] > 0.8
        assert shares[seeds, 50, 0.02][0] < shares[seeds, 100, 0.02][0] < shares[seeds, 200, 0.02][0]
        assert shares[seeds, 50, 0.15][1] < shares[seeds, 200, 0.15][1]
    assert all(fails <= 0.06 for (_, _, excess), (_, fails) in shares.items() if excess < 0.1)
    assert all(holds <= 0.06 for (_, _, excess), (holds, _) in shares.items() if excess > 0.1)
