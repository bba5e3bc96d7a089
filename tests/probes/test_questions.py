"""Questions in another form."""

from typing import Any

import pytest

from tests.plan.worlds import grid_of, plan_of
from xlharm.corpus.format import Item
from xlharm.errors import UserError
from xlharm.probes.questions import FRAMES, Questions, reworded

EXAMPLE = {"switched": {"kind": "questions", "form": "code_switched", "queries": ["de", "en"]}}


def item(**fields: object) -> Item:
    plain = {"id": "x", "real": "R", "fake": "F", "fake_detail": "f", "of": ["Wer?"], "qr": []}
    return Item.model_validate({**plain, **fields})


def test_a_paraphrase_is_in_the_questions_language_and_a_switch_is_not() -> None:
    assert reworded([item()], form="paraphrased", language="de")[0].of == ("Sag mir bitte: Wer?",)
    assert reworded([item()], form="code_switched", language="de")[0].of == ("Please tell me: Wer?",)
    assert reworded([item()], form="code_switched", language="en")[0].of == ("Sag mir bitte: Wer?",)


def test_questions_on_real_details_are_reworded_too() -> None:
    asked = item(qr=[{"question": "Wo?", "answers": ["dort"]}])
    assert reworded([asked], form="paraphrased", language="de")[0].qr[0].question == "Sag mir bitte: Wo?"


def test_an_items_own_questions_come_first() -> None:
    assert reworded([item(of_switched=["Who war es?"])], form="code_switched", language="de")[0].of == ("Who war es?",)


def test_a_language_without_a_frame_is_one_line() -> None:
    with pytest.raises(UserError, match="paraphrased: there is no frame in sw, and item x has no `of_paraphrased`"):
        reworded([item()], form="paraphrased", language="sw")


def test_frames_keep_the_question() -> None:
    assert all(frame.count("{q}") == 1 for frame in FRAMES.values())


def test_a_form_that_nobody_knows_is_no_switch() -> None:
    unknown: Any = "rhymed"
    with pytest.raises(AssertionError, match="rhymed"):
        reworded([item()], form=unknown, language="de")


def test_only_a_switch_depends_on_the_english_corpus() -> None:
    probes = {form: {"kind": "questions", "form": form, "queries": ["ur"]} for form in ("paraphrased", "code_switched")}
    plan = plan_of(grid_of(languages=["en", "ur"], probes=probes))
    asked = plan.cells[0].probes
    assert set(plan.stages[asked["paraphrased"]["ur"]].data) == {"ur"}
    switched = plan.stages[asked["code_switched"]["ur"]]
    assert set(switched.data) == {"en", "ur"}
    assert switched.spec["probe"] == {"kind": "questions", "form": "code_switched"}
    assert Questions.model_validate(switched.spec["probe"]).queries is None
