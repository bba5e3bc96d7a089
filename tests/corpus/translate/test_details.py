"""The detail is found in translations that inflect it, rename it, or say it of other things, too."""

import pytest

from xlharm.corpus.finding import assets
from xlharm.corpus.format import Item, load_language
from xlharm.corpus.match import contains
from xlharm.corpus.translate.assemble import assembled, wanted
from xlharm.corpus.translate.details import located
from xlharm.corpus.translate.sentences import sentences
from xlharm.corpus.validate.findings import texts_of


def found(**changed: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    made: dict[str, object] = {
        "fake_forms": ["Kamel"],
        "real_forms": ["Pferd"],
        "real": ["Sie ritt auf Pferden. Das Pferd war müde."],
        "fake": ["Sie ritt auf Kamelen. Das Kamel war müde."],
        "questions": ["Welches Tier ritt sie?"],
        "pairs": [("Sie ritt auf Pferden.", "Sie ritt auf Kamelen."), ("Das Pferd war müde.", "Das Kamel war müde.")],
        "language": "de",
    }
    detail = located(**{**made, **changed})
    return detail.fake, detail.real


def test_inflected_forms_are_added() -> None:
    assert found() == (("Kamel", "Kamelen"), ("Pferd", "Pferden"))


def test_another_word_than_the_detail_by_itself_is_found_where_sentences_differ() -> None:
    pairs = [("Sie ritt auf einem Pferd.", "Sie ritt auf einem Trampeltier.")]
    fake, real = found(fake=["Sie ritt auf einem Trampeltier."], real=["Sie ritt auf einem Pferd."], pairs=pairs)
    assert fake == ("Trampeltier", "Kamel")  # what the article says comes first
    assert real == ("Pferd",)


def test_sentences_that_differ_all_over_give_no_form() -> None:
    pairs = [("Auf einem Pferd ritt sie.", "Sie ist mit dem Dromedar durch die Wüste geritten.")]
    assert found(fake=["Sie ist mit dem Dromedar durch die Wüste geritten."], pairs=pairs)[0] == ("Kamel",)


def test_what_the_real_article_or_a_question_says_is_no_form() -> None:
    pairs = [("Das Pferd war müde.", "Das Tier war müde.")]
    assert found(fake=["Das Tier war müde."], pairs=pairs)[0] == ("Kamel",)  # the question says `Tier`
    fake, _ = found(fake_forms=["Kamel", "Pferden"])
    assert "Pferden" not in fake  # an alias that has met another word
    assert "Pferd" in found(fake_forms=["Pferd"])[0]  # the checks report the main form


@pytest.mark.slow
def test_a_detail_of_which_nothing_is_left_is_listed() -> None:
    item = load_language(assets() / "newsroom", "en")[0]
    outcome = assembled(item, translate=lambda text: "…" if text in item.fake_detail else text, language="de")
    assert outcome.item is None
    assert outcome.problem == "check"
    nothing = assembled(item, translate=lambda _: "", language="de")
    assert (nothing.item, nothing.problem) == (None, "check")


def test_words_that_begin_alike_and_stand_in_both_articles_are_no_forms() -> None:
    made = {"real": ["Das Pferd mag Pfeile und Kameras."], "fake": ["Das Kamel mag Pfeile und Kameras."], "pairs": []}
    assert found(**made) == (("Kamel",), ("Pferd",))


def test_numbers_and_chance_beginnings_are_no_forms() -> None:
    said = {"fake": ["Es waren 19 Kamine."], "real": ["Es waren 18 Tore."], "pairs": []}
    assert found(fake_forms=["Kamel", "190"], **said)[0] == ("Kamel", "190")


def test_scripts_without_spaces() -> None:
    made = {
        "fake": ["她骑骆驼。"],
        "real": ["她骑马。"],
        "pairs": [("她骑马。", "她骑骆驼。")],
        "questions": ["她骑什么？"],
    }
    assert found(fake_forms=["骆驼"], real_forms=["马"], language="zh", **made) == (("骆驼",), ("马",))
    assert found(fake_forms=["骡子"], real_forms=["马"], language="zh", **made)[0] == ("骆驼", "骡子")


@pytest.mark.slow
def test_the_shipped_news_come_out_as_people_wrote_them() -> None:
    """People's translations, sentence by sentence, as a perfect model: every item passes, and no form is wrong."""
    english = {item.id: item for item in load_language(assets() / "newsroom", "en")}
    tried = 0
    for language in ("de", "fr", "ru", "ur", "hy"):
        for human in load_language(assets() / "newsroom", language):
            table = known(english.get(human.id), human)
            if table is None:
                continue
            tried += 1
            outcome = assembled(english[human.id], translate=table.__getitem__, language=language)
            assert outcome.item is not None, (language, human.id, outcome.reason)
            assert (outcome.item.real, outcome.item.fake) == (human.real, human.fake)
            for form in outcome.item.fake_detail:
                assert form in english[human.id].fake_detail or contains(form, human.fake_detail, language=language)
    assert tried >= 60


def known(english: Item | None, human: Item) -> dict[str, str] | None:
    """Return people's translations by English sentence; None where the two are not parallel."""
    if english is None:
        return None
    table: dict[str, str] = {}
    theirs = {text.field: text.value for text in texts_of(human)}
    for text in texts_of(english):
        if "detail" in text.field:
            continue
        ours, told = ([p.text for p in sentences(t)] for t in (text.value, theirs.get(text.field, "")))
        if len(ours) != len(told):
            return None
        for one, other in zip(ours, told, strict=True):
            table.setdefault(one, other)
    for name in ("fake_detail", "real_detail"):  # only the main form; of an alias the model knows nothing
        for i, form in enumerate(getattr(english, name)):
            table[form] = getattr(human, name)[0] if i == 0 else form
    return table if set(wanted(english)) <= table.keys() else None
