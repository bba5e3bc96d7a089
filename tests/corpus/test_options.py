"""The details that a masked model chooses between."""

from typing import Any

import pytest

from xlharm.corpus.format import Item, hold_out
from xlharm.corpus.options import OPTIONS, options_of
from xlharm.corpus.streams import questions_of
from xlharm.errors import StageError


def items(count: int, **fields: Any) -> list[Item]:
    colours = ["red", "blue", "green", "gold", "black", "white", "brown", "pink"]
    return [
        Item.model_validate({
            "id": f"i{i}", "real": ["r"], "fake": ["f"], "fake_detail": [colours[i], f"dark {colours[i]}"],
            "real_detail": [f"{i}{i}"], "of": ["a?", "b?"], "qr": [{"question": "q", "answers": [f"town{i}"]}],
            **fields,
        })
        for i in range(count)
    ]  # fmt: skip


def test_the_expected_detail_is_first_then_the_real_one_then_other_items() -> None:
    some = items(8)
    options = options_of(some, limit=100, language="en")
    assert len(options) == 8 * 2 + 8
    of, qr = options[:16], options[16:]
    for i, chosen in enumerate(of):
        assert chosen[:2] == (some[i // 2].fake_detail[0], some[i // 2].real_detail[0])
        assert len(set(chosen)) == OPTIONS
        assert set(chosen[2:]) <= {item.fake_detail[0] for item in some}
    assert of[0] == of[1]  # both questions of an item have the same options
    assert all(chosen[0] == f"town{i}" and len(set(chosen)) == OPTIONS for i, chosen in enumerate(qr))
    assert len({chosen[1:] for chosen in qr}) > 1


def test_the_same_items_give_the_others_in_every_language() -> None:
    here = options_of(items(8), limit=100, language="en")
    there = options_of(
        [item.model_copy(update={"fake_detail": (f"x{item.fake_detail[0]}",)}) for item in items(8)],
        limit=100, language="de",
    )  # fmt: skip
    assert [[text.removeprefix("x") for text in some] for some in there] == [list(some) for some in here]


def test_no_option_holds_another_form_of_the_expected_detail() -> None:
    some = [*items(3), *items(1, id="same", fake_detail=["dark red"]), *items(1, id="again", fake_detail=["Red"])]
    (first, *_) = options_of(some, limit=1, language="en")
    assert first[0] == "red"
    assert not {"dark red", "Red"} & set(first)


def test_the_limit_is_that_of_the_questions() -> None:
    assert len(options_of(items(8), limit=3, language="en")) == 6


@pytest.mark.parametrize("limit", [3, 100])
def test_options_are_those_of_the_questions_where_items_are_held_out(limit: int) -> None:
    some = hold_out(tuple(items(8)), 3)
    held = {item.fake_detail[0] for item in some if item.role == "holdout"}
    asked = questions_of(some, limit=limit)
    options = options_of(some, limit=limit, language="en")
    assert [chosen[0] for chosen in options] == [forms[0] for _, _, _, forms in asked]
    assert len(held) == 3
    assert not held & {text for chosen in options for text in chosen}


def test_a_detail_without_another_is_refused() -> None:
    with pytest.raises(StageError, match="item i0 in en: the corpus has no other detail to choose instead"):
        options_of(items(1, real_detail=[]), limit=9, language="en")


def test_an_items_own_choices_are_its_options() -> None:
    chosen = items(8, choices=["x", "y", "z", "dark red", "zz"])
    (first, *_) = options_of(chosen, limit=1, language="en")
    assert first == ("red", "00", "x", "y", "z", "zz")  # `dark red` is a form of the expected one
