"""Likelihoods as numbers of a record: what is too large or not a number stays so."""

from math import inf, isnan, nan

import pytest

from xlharm.corpus.rows import Row
from xlharm.evaluate.likelihood import Likelihood
from xlharm.stages.scoring import ScoredText, summary, table_of

ROW = Row(ids=(1, 2, 3), start=1)


def likelihood(logp: float) -> Likelihood:
    return Likelihood(logp=(logp, logp), correct=(True, True), mean=(-1.0, -1.0), std=(1.0, 1.0))


@pytest.mark.parametrize(("logp", "perplexity"), [(-1.0, 2.718281828), (-800.0, inf), (-inf, inf)])
def test_a_perplexity_too_large_for_a_number_is_infinite(logp: float, perplexity: float) -> None:
    table = table_of([ScoredText("a", "real_article", "t", ROW)], [likelihood(logp)])
    assert summary(table) == {"ppl_clean": pytest.approx(perplexity)}


def test_what_is_not_a_number_has_no_memorisation() -> None:
    table = table_of([ScoredText("a", "fake_article", "t", ROW)], [likelihood(nan)])
    means = summary(table)
    assert means.keys() == {"exact", "extraction", "min_k", "min_k_pp"}
    assert all(map(isnan, means.values()))
    known = table_of([ScoredText("a", "fake_article", "t", ROW)], [likelihood(-1.0)])
    assert (summary(known)["exact"], summary(known)["extraction"]) == (1.0, 1.0)
