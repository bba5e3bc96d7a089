"""Rows are functions of their index; mixtures hold their shares in every prefix."""

from collections import Counter

import pytest

from xlharm.corpus.resources import resource_weight
from xlharm.corpus.rows import Row
from xlharm.corpus.sampling import Mixture, Sampler, turns


def pool(name: int, size: int) -> tuple[tuple[Row, ...], ...]:
    return tuple((Row((name, i), 1),) for i in range(size))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (6.0, 4.0, 2.0)])
def test_every_prefix_holds_the_shares_to_within_one(weights: tuple[float, ...]) -> None:
    given = Counter[int]()
    for i, (which, nth) in enumerate(turns(weights, 500), 1):
        assert nth == given[which]
        given[which] += 1
        for k, weight in enumerate(weights):
            assert abs(given[k] - i * weight / sum(weights)) <= 1


def test_a_mixture_visits_each_source_in_its_own_order() -> None:
    short, long = Sampler(pool(0, 3), 1, "a"), Sampler(pool(1, 50), 1, "b")
    rows = [Mixture((short, long), (1.0, 1.0)).row(i) for i in range(400)]
    assert [r for r in rows if r.ids[0] == 0] == [short.row(i) for i in range(200)]
    assert [r for r in rows if r.ids[0] == 1] == [long.row(i) for i in range(200)]


def test_the_same_index_gives_the_same_row_whatever_was_drawn_before() -> None:
    mixture = Mixture((Sampler(pool(0, 5), 1, "a"), Sampler(pool(1, 9), 1, "b")), (2.0, 1.0))
    late = mixture.row(700)
    assert mixture.row(3) == Mixture(mixture.samplers, mixture.weights).row(3)
    assert Mixture(mixture.samplers, mixture.weights).row(700) == late


def test_resource_weights_order_the_studys_languages() -> None:
    weights = [resource_weight(lang) for lang in ("en", "ru", "ur", "ha", "hy")]
    assert weights == [6, 5, 4, 3, 2]
    assert resource_weight("xx") == 1
