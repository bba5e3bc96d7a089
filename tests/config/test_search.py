"""What `--search` may say, and the points and rungs it means."""

from typing import Any

import pytest

from xlharm.config.search import (
    Choice,
    Range,
    default_space,
    numbers_of,
    points,
    rungs_of,
    space_of,
    written,
)
from xlharm.errors import UserError
from xlharm.methods.kl import Kl
from xlharm.methods.npo import Npo
from xlharm.methods.rmu import Rmu
from xlharm.methods.task_vector import TaskVector

NPO = Npo(objective="npo", retain="nll", retain_weight=8, steps=60, learning_rate=2.8e-4, warmup_steps=5)
TEXTS = ("learning_rate=1e-5..1e-3:log", "steps=20,40,80", "beta=0.05..1")


def space(*texts: str, method: Any = NPO) -> Any:
    return space_of(texts, method=method, name="npo")


def test_plain_words() -> None:
    parsed = space(*TEXTS)
    assert parsed == {
        "learning_rate": Range(low=1e-5, high=1e-3, log=True, whole=False),
        "steps": Choice((20, 40, 80)),
        "beta": Range(low=0.05, high=1.0, log=False, whole=False),
    }
    assert space(*(f"{field}={domain}" for field, domain in parsed.items())) == parsed  # as a ledger keeps it


def test_every_number_of_a_method_and_nothing_else() -> None:
    assert numbers_of(Rmu(objective="rmu"))["layer"] is int  # a number or nothing
    assert numbers_of(NPO)["beta"] is float
    assert not {"objective", "retain", "layers", "mix", "stop", "schedule"} & numbers_of(NPO).keys()
    assert "beta" not in numbers_of(Kl(objective="kl"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("beta", "expected FIELD=LOW..HIGH"),
        ("learning_rat=1e-5..1e-3", "no number 'learning_rat'; did you mean 'learning_rate'?"),
        ("objective=1,2", "no number 'objective'"),
        ("beta=a..1", "'a' is no number"),
        ("beta=nan,1", "'nan' is no number"),
        ("beta=0.1..", "'' is no number"),
        ("steps=1.5..3", "'1.5' is no whole number"),
        ("beta=-1..1", "input should be greater than 0, found -1"),
        ("learning_rate=0.1..2", "input should be less than 1, found 2"),
        ("beta=1..0.5", "expected the lower number first"),
        ("weight_decay=0..1:log", "a logarithmic range begins above 0"),
        ("beta=1,2:log", "expected FIELD=LOW..HIGH"),
        ("steps=20", "set it with -s methods.npo.steps=20"),
    ],
)
def test_mistakes_are_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=r"^--search ") as error:
        space(text)
    assert message in str(error.value)
    with pytest.raises(UserError, match="searched twice"):
        space("beta=1,2", "beta=3,4")


def test_points_are_the_same_every_time_and_do_not_depend_on_how_many_follow() -> None:
    parsed = space(*TEXTS)
    few, many = points(parsed, count=5), points(parsed, count=40)
    assert many[:5] == few
    assert len({tuple(p.items()) for p in many}) == 40
    for point in many:
        NPO.model_validate({**NPO.model_dump(), **point})
        assert all(parsed[field].holds(value) for field, value in point.items())
        assert point["learning_rate"] == float(f"{point['learning_rate']:.3g}")
    # each third of a logarithmic range has about its share, each choice is taken
    thirds = [sum(1e-5 * 10 ** (2 * i / 3) <= p["learning_rate"] < 1e-5 * 10 ** (2 * (i + 1) / 3) for p in many)
              for i in range(3)]  # fmt: skip
    assert min(thirds) >= 10
    assert {p["steps"] for p in many} == {20, 40, 80}


def test_points_begin_with_those_given_and_end_where_there_are_no_more() -> None:
    own = {"steps": 40, "beta": 1.0}
    chosen = points(space("steps=20,40", "beta=0.5,1"), count=10, first=[own])
    assert chosen[0] == own
    assert len(chosen) == 4
    assert points({}, count=3) == [{}]  # steps alone, climbed as rungs


def test_default_space_lies_around_the_grids_own_values() -> None:
    assert {f: str(d) for f, d in default_space(NPO).items()} == {
        "learning_rate": "5.6e-5..0.0014:log", "retain_weight": "2..32:log",
    }  # fmt: skip
    vector = TaskVector(objective="task_vector", learning_rate=3e-4, alpha=2)
    assert {f: str(d) for f, d in default_space(vector).items()} == {
        "learning_rate": "6e-5..0.0015:log", "alpha": "0.5..8:log",
    }  # fmt: skip
    steep = Npo(objective="npo", learning_rate=0.3)
    assert default_space(steep)["learning_rate"].holds(0.3)
    assert not default_space(steep)["learning_rate"].holds(1.0)


def test_rungs() -> None:
    assert rungs_of(NPO, None) == (20, 60)  # 6 steps would be hardly more than the warm-up
    assert rungs_of(Npo(objective="npo", steps=135), None) == (15, 45, 135)
    assert rungs_of(Npo(objective="npo", steps=12), None) == (12,)
    assert rungs_of(NPO, Choice((80, 20, 40))) == (20, 40, 80)
    assert rungs_of(NPO, Range(low=15, high=120, log=False, whole=True)) == (15, 45, 120)
    assert rungs_of(NPO, Range(low=15, high=50, log=False, whole=True)) == (15, 50)


def test_numbers_are_written_exactly() -> None:
    values = (2.8e-4, 0.05, 8.0, 8, 1200, 1e-5, 0.0018, 100000, 1e5, 0.1 + 0.2, -0.5, 0.0)
    assert [float(written(v)) for v in values] == list(values)
    assert [written(v) for v in values[:9]] == ["2.8e-4", "0.05", "8", "8", "1200", "1e-5", "0.0018", "100000", "1e5"]
