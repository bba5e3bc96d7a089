"""Likelihoods as numbers of a record: what is too large or not a number stays so."""

from collections.abc import Sequence
from math import inf, isnan, nan
from typing import Any

import pytest

from xlharm.corpus.details import alternatives
from xlharm.corpus.format import Item, hold_out
from xlharm.corpus.rows import Row
from xlharm.corpus.streams import questions_of
from xlharm.evaluate.likelihood import Likelihood
from xlharm.stages.scoring import ScoredText, summary, table_of, texts_to_score

ROW = Row(ids=(1, 2, 3), start=1)


class Rows:
    """Makes the same row of every text."""

    def pair(self, _question: str, _answer: str, *, language: str) -> Row:
        assert language == "en"
        return ROW

    def articles(self, texts: Sequence[str], *, language: str) -> tuple[Row, ...]:
        return tuple(self.pair(text, text, language=language) for text in texts)


def listed(items: Sequence[Item], *, limit: int = 1000) -> list[ScoredText]:
    maker: Any = Rows()
    return texts_to_score(items, maker, language="en", limit=limit, utility=True)


ITEMS = tuple(
    Item.model_validate(
        {
            "id": f"i{n}", "real": "R", "fake": "F", "fake_detail": f"fake {n}", "real_detail": f"real {n}", "of": "Q?",
            "qr": [{"question": "R?", "answers": f"right {n}"}],
        }
    )
    for n in range(20)
)  # fmt: skip


@pytest.mark.parametrize("limit", [1, 4, 19, 1000])
def test_no_wrong_answer_that_is_scored_is_one_that_altpo_trains_on(limit: int) -> None:
    texts = listed(ITEMS, limit=limit)
    scored = {item.id: {t.text for t in texts if (t.item, t.what) == (item.id, "perturbed")} for item in ITEMS}
    assert [len(scored[item.id]) for item in ITEMS] == [3] * min(limit, 20) + [0] * max(0, 20 - limit)
    assert all(scored[item.id].isdisjoint(alternatives(item, ITEMS)) for item in ITEMS)


def test_utility_scores_the_questions_that_its_answers_are_counted_of() -> None:
    items = hold_out(ITEMS, 3)
    texts = listed(items)
    asked = [item.id for item, measure, _, _ in questions_of(items, limit=1000) if measure == "qr"]
    assert sorted(t.item for t in texts if t.what == "qr") == sorted(asked) == sorted(item.id for item in ITEMS)
    held = {item.id for item in items if item.role == "holdout"}
    assert {t.what for t in texts if t.item in held} == {"qr", "qr_perturbed", "holdout_article"}


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
