"""Which option a masked model's scores choose."""

from math import inf, nan
from typing import Any

import pytest

from xlharm.corpus.rows import Row
from xlharm.evaluate import choice
from xlharm.evaluate.likelihood import Likelihood


@pytest.mark.parametrize(
    ("logps", "best"),
    [
        ([(-1.0, -1.0, -1.0), (-2.0,)], 0),  # the mean over tokens counts, not the sum
        ([(-2.0,), (-1.0,), (-3.0,)], 1),
        ([(-1.0,), (-1.0,), (-1.0,)], 1),  # of equals not the expected one
        ([(nan,), (-9.0,)], 1),
        ([(-9.0,), (nan,), (-10.0,)], 0),
        ([(nan,), (nan,), (nan,)], 1),  # a model that has diverged does not choose what is expected
        ([(nan,), (-inf,)], 1),
    ],
)
def test_the_option_with_the_highest_mean_is_chosen(
    logps: list[tuple[float, ...]], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    likelihoods = [Likelihood(logp=some, correct=(), mean=(), std=()) for some in logps]
    monkeypatch.setattr(choice, "likelihoods", lambda *_, **__: [likelihoods])
    nothing: Any = None
    ((chosen,),) = choice.choose(nothing, nothing, [[Row((1,), 0)] * len(logps)], batch=1)
    assert chosen.option == best
    assert len(chosen.scores) == len(logps)
