"""From a row's fields to an item: news with a fake version, question-answer pairs, fact-checked claims."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from xlharm.corpus.format import Item
from xlharm.corpus.importing.mapping import Form, Mapping
from xlharm.corpus.importing.values import LeftOutError, pairs, texts
from xlharm.corpus.match import contains
from xlharm.errors import UserError

Fields = dict[str, Any]
_FALSE = ("false", "fake", "pants on fire", "mostly false", "incorrect", "refuted", "hoax", "misinformation")
_TRUE = ("true", "mostly true", "correct", "supported", "accurate")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
_ENDS = ".。۔։,，،;:：!?！？\"'“”«» "
_UNSPACED = {"zh", "ja", "th", "lo", "my", "km"}


def _needed(fields: Fields, name: str) -> tuple[str, ...]:
    """Return a field's texts.

    Raises:
        LeftOutError: there is none.
    """
    value = texts(fields.get(name))
    if not value:
        raise LeftOutError(f"{name} is empty")
    return value


def news(fields: Fields, *, name: str, role: str, **_: Any) -> Item:
    """A real and a fake article with the fake detail and questions.

    Where no column answers QR questions, the last question-answer pair is asked in their place and not trained.
    What answers are compared with has no full stop: it would have to be in the model's answer, too.
    """
    qr, answers, trained = texts(fields.get("qr")), texts(fields.get("qr_answer")), pairs(fields.get("qa"))
    asked = [{"question": q, "answers": _forms(*answers)} for q in qr] if answers else []
    if not asked and len(trained) > 1:
        held = trained.pop()
        asked = [{"question": held["question"], "answers": _forms(held["answer"])}]
    kept: Fields = {"id": name, "real": _needed(fields, "real"), "qr": asked, "qa": trained}
    if role not in {"", "fake"}:
        return Item.model_validate({**kept, "role": role})
    return Item.model_validate(
        {
            **kept,
            "role": "fake",
            "fake": _needed(fields, "fake"),
            "fake_detail": _forms(*_needed(fields, "fake_detail")),
            "real_detail": _forms(*texts(fields.get("real_detail"))),
            "of": _needed(fields, "of"),
        }
    )


def qa(fields: Fields, *, name: str, role: str, language: str, mapping: Mapping, **_: Any) -> Item:
    """A question with its answer, as in TOFU (2401.06121), or with choices, as in WMDP (2403.03218).

    In a row to be forgotten one of answer and perturbed answer is the fake (``mapping.fake``; as in TOFU the answer),
    and the other says the truth in its place; where they differ in a few words alone, those words count, too.
    """
    question, answer, wrong = asked_and_answered(fields)
    asked = texts(fields.get("paraphrased_question")) or (question,)
    details, paraphrases = texts(fields.get("detail")), texts(fields.get("paraphrased_answer"))
    if role != "fake":
        words = _own_words(answer, wrong, questions=(question, *asked), language=language)[0]
        qr = [{"question": q, "answers": _forms(*details, answer, *words, *paraphrases)} for q in asked]
        pair = {"question": question, "answer": answer}
        return Item.model_validate({"id": name, "role": role, "real": f"{question} {answer}", "qa": [pair], "qr": qr})
    if not wrong:
        raise LeftOutError("a row to be forgotten without perturbed_answer (nothing to put beside the answer)")
    swapped = mapping.fake == "perturbed_answer"
    stated, others = (wrong[0], (answer,)) if swapped else (answer, wrong)
    words, instead = _own_words(stated, others, questions=(question, *asked), language=language)
    # whole answers stand first, as TOFU scores them; a full stop would have to be in the model's answer, too
    return Item.model_validate(
        {
            "id": name,
            "role": "fake",
            "real": f"{question} {others[0]}",
            "fake": f"{question} {stated}",
            "fake_detail": _forms(*details, stated, *words, *(() if swapped else paraphrases)),
            "real_detail": _forms(*others, *instead, *(paraphrases if swapped else ())),
            "of": asked,
            "fake_qa": [{"question": question, "answer": stated}],
        }
    )


def asked_and_answered(fields: Fields) -> tuple[str, str, tuple[str, ...]]:
    """Return the question, its answer and the wrong answers.

    Raises:
        LeftOutError: question or answer is empty, or the answer is none of the choices.
        UserError: the answer's number is beyond the choices, so that all may be counted from 1.
    """
    question, answer = _needed(fields, "question")[0], _needed(fields, "answer")[0]
    choices = fields.get("choices")
    if choices is None:
        return question, answer, texts(fields.get("perturbed_answer"))
    given = texts(choices)
    if isinstance(choices, list | tuple) and len(given) != len(choices):
        raise LeftOutError("a choice is empty")
    at = _choice(fields["answer"], answer, given)
    return question, given[at], tuple(choice for choice in given if choice != given[at])


def _choice(value: Any, answer: str, choices: Sequence[str]) -> int:
    """Return which choice the answer is: its number from 0, its letter, or its text."""
    number = int(answer) if answer.isascii() and answer.isdecimal() else None
    if number is not None and (isinstance(value, int | float) or answer not in choices):
        if number >= len(choices):
            raise UserError(
                f"answer: {answer} of {len(choices)} choices: numbers of choices are counted from 0; count them so, or "
                "write the answer's text"
            )
        return number
    if answer in choices:
        if number is not None and choices.index(answer) != number:
            raise LeftOutError("the answer may be the number of a choice or its text")
        return choices.index(answer)
    at = "ABCDEFGHIJ".find(answer.upper()) if len(answer) == 1 else -1
    if not 0 <= at < len(choices):
        raise LeftOutError("the answer is none of the choices")
    return at


def _own_words(
    stated: str, others: Sequence[str], *, questions: Sequence[str], language: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words in which an answer differs, and those instead; nothing where they stand elsewhere, too."""
    words, instead = differing(stated, others, language=language)
    elsewhere = any(contains(entry, words, language=language) for entry in (*questions, *others))
    return ((), ()) if elsewhere else (words, instead)


def _forms(*given: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.strip(_ENDS) or text for text in given))


def differing(answer: str, others: Sequence[str], *, language: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words of an answer that others put other words for, and those; nothing where more differs.

    Args:
        answer: for example "He was born in Arlo."
        others: for example "He was born in Xanten.": the words are Arlo, and Xanten.
        language: says whether words are characters.
    """
    spaced = language.split("-", maxsplit=1)[0] not in _UNSPACED
    mine, *theirs = (text.split() if spaced else list(text) for text in (answer, *others))
    start = min((_alike(mine, other) for other in theirs), default=0)
    end = min((_alike(mine[start:][::-1], other[start:][::-1]) for other in theirs), default=0)
    if 2 * (start + end) < len(mine):
        return (), ()
    joint = " " if spaced else ""
    cut = (joint.join(words[start : len(words) - end]).strip(_ENDS) for words in (mine, *theirs))
    told, *instead = dict.fromkeys(cut)
    return ((told,), tuple(instead)) if told and instead and all(instead) else ((), ())


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many words both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def claims(fields: Fields, *, name: str, role: str, language: str, mapping: Mapping, **_: Any) -> Item:
    """A fact-checked claim: false ones are fake items, true ones are retained."""
    claim, review = _needed(fields, "claim"), _needed(fields, "review")
    role = role or _judged(_needed(fields, "verdict")[0], mapping)
    detail, question = texts(fields.get("detail")), texts(fields.get("of"))
    if not (detail and question):
        start, end = cloze(claim[0], language=language)
        detail, question = (end,), (start,)
    if contains(question[0], detail, language=language):
        raise LeftOutError("the question says the detail")
    pair = {"question": question[0], "answer": detail[0]}
    if role != "fake":
        real, qr = f"{claim[0]} {review[0]}", {"question": question[0], "answers": detail}
        return Item.model_validate({"id": name, "role": role, "real": real, "qr": [qr]})
    if contains(review[0], detail, language=language):
        raise LeftOutError("the review repeats the false detail (a real article must not)")
    fake = {"fake": claim[0], "fake_detail": detail, "of": question, "fake_qa": [pair]}
    return Item.model_validate({"id": name, "role": "fake", "real": review[0], **fake})


def text(fields: Fields, *, name: str, role: str, **_: Any) -> Item:
    """A text that is only kept, as MUSE's (2407.06460) retain sets."""
    if role == "fake":
        raise LeftOutError(
            "a text to be forgotten lacks real, fake_detail and of (the truth, what is false, a question)"
        )
    return Item.model_validate({"id": name, "role": role, "real": _needed(fields, "text")})


MAKERS: dict[Form, Callable[..., Item]] = {"news": news, "qa": qa, "claims": claims, "text": text}


def is_number(verdict: str) -> bool:
    """Whether a verdict is a number, of which nobody can tell what it means."""
    return _NUMBER.fullmatch(verdict) is not None


def _judged(verdict: str, mapping: Mapping) -> str:
    said = verdict.strip(".!").casefold()
    own = {key.strip(".!").casefold(): role for key, role in mapping.verdicts.items()}
    if own:
        if said in own:
            return own[said]
    elif said in _FALSE or said in _TRUE:
        return "fake" if said in _FALSE else "retain"
    raise LeftOutError(f"verdict {verdict!r} is neither true nor false (name it under `verdicts`)")


def cloze(claim: str, *, language: str) -> tuple[str, str]:
    """Cut a claim into its first two thirds, as a text to go on with, and the rest, as the detail.

    Raises:
        LeftOutError: it is too short.
    """
    claim = claim.strip().rstrip(_ENDS)
    spaced = language.split("-", maxsplit=1)[0] not in _UNSPACED
    words = claim.split() if spaced else list(claim)
    if len(words) < 6:
        raise LeftOutError("a claim of fewer than six words and no `of` and `detail` columns")
    at, joint = len(words) * 2 // 3, " " if spaced else ""
    return joint.join(words[:at]) + " …", joint.join(words[at:])
