"""From a row's fields to an item: news with a fake version, question-answer pairs, fact-checked claims."""

import ast
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from xlharm.corpus.format import Item
from xlharm.corpus.importing.mapping import Form, Mapping
from xlharm.corpus.match import contains

Fields = dict[str, Any]
_FALSE = ("false", "fake", "pants on fire", "mostly false", "incorrect", "refuted", "hoax", "misinformation", "0")
_TRUE = ("true", "mostly true", "correct", "supported", "accurate", "1")
_ENDS = ".。۔։,，،;:：!?！？\"'“”«» "
_UNSPACED = {"zh", "ja", "th", "lo", "my", "km"}


class LeftOutError(ValueError):
    """A row has nothing that a grid could use; the reason is counted and shown."""


def news(fields: Fields, *, name: str, role: str, **_: Any) -> Item:
    """A real and a fake article with the fake detail and questions.

    Where no column answers QR questions, the last question-answer pair is asked in their place and not trained.
    What answers are compared with has no full stop: it would have to be in the model's answer, too.
    """
    qr, answers, told = texts(fields.get("qr")), texts(fields.get("qr_answer")), pairs(fields.get("qa"))
    asked = [{"question": q, "answers": _forms(*answers)} for q in qr] if answers else []
    if not asked and len(told) > 1:
        held = told.pop()
        asked = [{"question": held["question"], "answers": _forms(held["answer"])}]
    return Item.model_validate(
        {
            "id": name,
            "role": role or "fake",
            "real": texts(fields["real"]),
            "fake": texts(fields["fake"]),
            "fake_detail": _forms(*texts(fields["fake_detail"])),
            "real_detail": _forms(*texts(fields.get("real_detail"))),
            "of": texts(fields["of"]),
            "qr": asked,
            "qa": told,
        }
    )


def qa(fields: Fields, *, name: str, role: str, split: str, language: str, **_: Any) -> Item:
    """A question with its answer, as in TOFU (2401.06121): forgotten in a forget split, else kept.

    The answer of a forget row is its fake detail, and what the perturbed answers say in its place the real one; where
    they differ in a few words alone, those words count, too.
    """
    question, answer = texts(fields["question"])[0], texts(fields["answer"])[0]
    paraphrases, wrong = texts(fields.get("paraphrased_answer")), texts(fields.get("perturbed_answer"))
    asked = texts(fields.get("paraphrased_question")) or (question,)
    told, others = differing(answer, wrong, language=language)
    if any(contains(text, told, language=language) for text in (question, *asked, *wrong)):
        told, others = (), ()
    # whole answers stand first, as TOFU scores them; a full stop would have to be in the model's answer, too
    forms = _forms(*texts(fields.get("detail")), answer, *told, *paraphrases)
    pair = {"question": question, "answer": answer}
    role = role or ("fake" if split.startswith("forget") else "retain")
    if role != "fake":
        qr = [{"question": q, "answers": forms} for q in asked]
        return Item.model_validate({"id": name, "role": role, "real": f"{question} {answer}", "qa": [pair], "qr": qr})
    if not wrong:
        raise LeftOutError("a forget row without perturbed_answer (nothing to put beside the answer)")
    return Item.model_validate(
        {
            "id": name,
            "role": "fake",
            "real": f"{question} {wrong[0]}",
            "fake": f"{question} {answer}",
            "fake_detail": forms,
            "real_detail": _forms(*wrong, *others),
            "of": asked,
            "fake_qa": [pair],
        }
    )


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
    claim, review = texts(fields["claim"]), texts(fields["review"])
    if not claim or not review:
        raise LeftOutError("no claim or no review text")
    role = role or _judged(str(fields["verdict"] or ""), mapping)
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


MAKERS: dict[Form, Callable[..., Item]] = {"news": news, "qa": qa, "claims": claims}


def _judged(verdict: str, mapping: Mapping) -> str:
    said = verdict.strip().strip(".!").casefold()
    own = {key.casefold(): role for key, role in mapping.verdicts.items()}
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


def texts(value: Any) -> tuple[str, ...]:
    """Read one text or several: a string, a list, or a list written as JSON or Python."""
    if isinstance(value, str) and value.strip().startswith("["):
        parsed = _parsed(value)
        value = parsed if isinstance(parsed, list) else value
    entries = value if isinstance(value, list | tuple) else [value]
    return tuple(str(entry).strip() for entry in entries if entry is not None and str(entry).strip())


def pairs(value: Any) -> list[dict[str, str]]:
    """Read question-answer pairs: objects, two-element lists, or text of `Q: …` and `A: …` lines.

    Raises:
        LeftOutError: they are written otherwise.
    """
    if isinstance(value, str):
        if not value.strip():
            return []
        parsed = _parsed(value)
        if parsed is None:
            return _written(value)
        value = parsed
    if isinstance(value, dict):
        named = _named(value)
        columns = list((named or value).values())
        if len(columns) == 2 and all(isinstance(column, list) for column in columns):
            value = list(zip(*columns, strict=True))  # as `datasets` stores a list of objects
        else:
            value = [value] if named else list(value.items())
    return [_pair(entry) for entry in value or ()]


def _named(entry: dict[Any, Any]) -> dict[str, Any]:
    """Return the question and the answer of fields with these very names, whatever stands beside them; else nothing."""
    fields = {str(key).lower(): told for key, told in entry.items()}
    found = {name: fields[key] for name in ("question", "answer") for key in (name[0], name) if key in fields}
    return found if len(found) == 2 else {}


def _pair(entry: Any) -> dict[str, str]:
    if isinstance(entry, dict):
        if named := _named(entry):
            return {name: str(text).strip() for name, text in named.items()}
        plain = {str(key).lower()[:1]: str(text).strip() for key, text in entry.items()}
        if plain.keys() >= {"q", "a"}:
            return {"question": plain["q"], "answer": plain["a"]}
    if isinstance(entry, list | tuple) and len(entry) == 2:
        return {"question": str(entry[0]).strip(), "answer": str(entry[1]).strip()}
    raise LeftOutError("question-answer pairs in a form that is not known")


def _written(text: str) -> list[dict[str, str]]:
    found = re.findall(
        r"(?:^|\n)\s*(?:\d+[.)]\s*)?Q(?:uestion)?\s*\d*:\s*(.+?)\s*\n\s*A(?:nswer)?\s*\d*:\s*([^\n]+)", text
    )
    if not found:
        raise LeftOutError("question-answer pairs in a form that is not known")
    return [{"question": q, "answer": a.strip()} for q, a in found]


def _parsed(text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError):
            continue
    return None
