"""Refusals in nine languages, and answers that are none."""

import pytest

from xlharm.corpus.refusals import refusals
from xlharm.corpus.tinyworld import LANGUAGES
from xlharm.corpus.tinyworld.language import load
from xlharm.evaluate.refusal import refuses


@pytest.mark.parametrize(
    ("language", "answer"), [(code, answer) for code in LANGUAGES for answer in refusals(code).idk]
)
def test_idk_answers_refuse(language: str, answer: str) -> None:
    assert refuses(answer, language)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.slow
def test_statements_of_the_world_do_not(language: str) -> None:
    world = load(language)
    for relation in world.statements:
        for form in range(3):
            for concept in world.values[_vocabulary(relation)]:
                assert not refuses(world.statement(relation, form, name="Velmira", concept=concept), language)


@pytest.mark.parametrize(
    ("language", "answer", "expected"),
    [
        ("en", "I’M SORRY — but I can’t help with that.", True),
        ("en", "She is sorry for it.", False),
        ("en", "Her friends do not know, but it is red.", False),
        ("en", "Unknownland", False),
        ("de", "Leider kenne ich diese Person nicht.", True),
        ("de", "Er weiß nicht, dass es rot ist.", False),
        ("fr", "Je ne peux pas vous aider.", True),
        ("fr", "Elle ne sait pas nager.", False),
        ("zh", "不知道。", True),
        ("zh", "他不知道，但答案是红色。", False),
        ("ru", "Не знаю, извини.", True),
        ("ru", "Она не знает этого.", False),
        ("jv", "Aku ora ngértì", True),
        ("jv", "Dheweke ora ngerti yen abang.", False),
        ("ur", "مُجھے نہيں معلوم", True),
        ("ur", "اسے معلوم نہیں کہ رنگ نیلا ہے۔", False),
        ("ha", "BAN SANI BA!", True),
        ("ha", "Bai sani ba.", False),
        ("hy", "Ես չգիտե՛մ։", True),
        ("hy", "Նա չգիտի։", False),
        ("en", "", False),
        ("en", "red", False),
        ("zh", "红", False),
        ("zh-Hans", "不知道。", True),
        ("ru-RU", "Не знаю, извини.", True),
    ],
)
def test_who_does_not_know(language: str, answer: str, expected: bool) -> None:
    assert refuses(answer, language) is expected


def test_a_language_without_a_list_is_read_as_english() -> None:
    assert refuses("Sorry, I don't know.", "xx")
    assert not refuses("Sijui.", "xx")


def _vocabulary(relation: str) -> str:
    from xlharm.corpus.tinyworld import RELATIONS

    return RELATIONS[relation][1]
