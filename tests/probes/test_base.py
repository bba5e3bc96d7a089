"""A probe that somebody adds: it is planned and asked by its own class, or refused."""

from typing import Any, ClassVar, Literal

import pytest

from tests.plan.worlds import grid_of, plan_of
from xlharm.plan.settings import EvaluateStage, read
from xlharm.probes import PROBES
from xlharm.probes.base import AnswerProbe


class Unfinished(AnswerProbe):
    kind: Literal["shuffle"]


class Shuffle(Unfinished):
    def answers(self, asking: Any) -> Any:
        raise NotImplementedError


class Later(Shuffle):
    added: ClassVar = frozenset({"times"})
    times: int = 1


def probed(settings: dict[str, Any], kind: type[AnswerProbe], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the evaluation by a probe of a grid that has it."""
    monkeypatch.setitem(PROBES._from_files, "shuffle", kind)
    plan = plan_of(grid_of(languages=["en"], probes={"p": {"kind": "shuffle", **settings}}))
    return plan.stages[plan.cells[0].probes["p"]["en"]]


def test_a_class_that_does_not_say_how_models_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="abstract"):
        probed({}, Unfinished, monkeypatch)


def test_its_stage_carries_its_settings_to_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = probed({"queries": ["en"]}, Shuffle, monkeypatch)
    assert stage.spec["probe"] == {"kind": "shuffle"}
    assert isinstance(read(EvaluateStage, stage).probe, Shuffle)


def test_a_new_setting_at_its_default_leaves_keys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = probed({}, Shuffle, monkeypatch).key
    assert probed({}, Later, monkeypatch).key == before
    stage = probed({"times": 2}, Later, monkeypatch)
    assert stage.key != before
    assert read(EvaluateStage, stage).probe == Later(kind="shuffle", times=2)
