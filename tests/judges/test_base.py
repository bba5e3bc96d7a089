"""A judge that somebody adds: its verdicts are its own, or it is refused."""

from typing import Any, ClassVar, Literal

import pytest

from tests.plan.worlds import grid_of, plan_of
from xlharm.judges import JUDGES
from xlharm.judges.base import Judge


class Unfinished(Judge):
    kind: Literal["coin"]
    place: ClassVar = "endpoint"
    prompt_version: ClassVar = 1


class Coin(Unfinished):
    def start(self, worker: Any) -> Any:
        raise NotImplementedError


class Later(Coin):
    added: ClassVar = frozenset({"sides"})
    sides: int = 2


def judged(settings: dict[str, Any], kind: type[Judge], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the verdicts' stage of a grid that has such a judge."""
    monkeypatch.setitem(JUDGES._from_files, "coin", kind)
    plan = plan_of(grid_of(languages=["en"], judges={"j": {"kind": "coin", **settings}}))
    return plan.stages[plan.cells[0].judged["j"]["en"]]


def test_a_class_without_verdicts_of_its_own_gives_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="abstract"):
        judged({}, Unfinished, monkeypatch)


def test_its_class_says_where_it_runs_and_what_its_key_has(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = judged({"measures": ["of"]}, Coin, monkeypatch)
    assert stage.place == "endpoint"
    assert stage.spec["judge"] == {"kind": "coin", "measures": ["of"], "prompt_version": 1}


def test_a_new_setting_at_its_default_leaves_keys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = judged({}, Coin, monkeypatch).key
    assert judged({}, Later, monkeypatch).key == before
    assert judged({"sides": 6}, Later, monkeypatch).key != before
