from xlharm.corpus.details import ALTERNATIVES, PERTURBED, alternatives, perturbed, perturbed_answers
from xlharm.corpus.format import Item, Question


def item(name: str, fake: str, real: str = "") -> Item:
    texts = {"real": ["R"], "fake": ["F"], "of": ["Q?"], "real_detail": [real] if real else []}
    return Item.model_validate({"id": name, "role": "fake", "fake_detail": [fake], **texts})


ITEMS = [item(f"i{n}", f"detail {n}") for n in range(20)]


def test_wrong_details_are_others_and_the_same_each_time() -> None:
    first = item("i0", "detail 0", real="detail 7")
    chosen = perturbed(first, ITEMS) + alternatives(first, ITEMS)
    assert len(set(chosen)) == PERTURBED + ALTERNATIVES
    assert {"detail 0", "detail 7"}.isdisjoint(chosen)
    assert perturbed(first, ITEMS[::-1]) + alternatives(first, ITEMS[::-1]) == chosen
    assert perturbed(ITEMS[1], ITEMS) != perturbed(first, ITEMS)


def test_wrong_answers_are_other_items_right_ones() -> None:
    def asked(name: str, *answers: str) -> Item:
        return item(name, "x").model_copy(update={"qr": (Question(question="Q?", answers=answers),)})

    items = [asked("a", "red", "crimson"), asked("b", "blue"), asked("c", "crimson"), asked("d", "green"), ITEMS[0]]
    assert set(perturbed_answers(items[0], items)) == {"blue", "green"}
    assert perturbed_answers(ITEMS[0], []) == []


def test_few_items_give_what_they_have() -> None:
    assert alternatives(ITEMS[0], ITEMS[:3]) == perturbed(ITEMS[0], ITEMS[:3])
    assert set(alternatives(ITEMS[0], ITEMS[:3])) == {"detail 1", "detail 2"}
    assert alternatives(ITEMS[0], ITEMS[:1]) == []
    assert alternatives(item("x", "blue", real="red"), [item("y", "red")]) == ["red"]


def test_an_items_own_choices_are_scored_and_not_trained_on() -> None:
    chosen = item("x", "blue", real="red").model_copy(update={"choices": ("detail 1", "green")})
    assert perturbed(chosen, ITEMS) == ["detail 1", "green"]
    assert "detail 1" not in alternatives(chosen, ITEMS)
    assert len(alternatives(chosen, ITEMS)) == ALTERNATIVES
