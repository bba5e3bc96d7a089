"""Does an item measure what it is meant to: details where they belong, no question with its own answer?"""

from collections.abc import Iterator

from xlharm.corpus.format import Item
from xlharm.corpus.match import contains, normalise
from xlharm.corpus.validate.findings import Finding, Severity

Found = Iterator[tuple[Severity, str, str]]


def content(item: Item, *, language: str) -> list[Finding]:
    """Check one item by itself; matching is the evaluation's own."""
    checks = (_role, _details, _choices, _questions, _comprehension, _pairs)
    found = (entry for check in checks for entry in check(item, language))
    return [Finding(severity, language, item.id, field, message) for severity, field, message in found]


def _said(text: str, forms: tuple[str, ...], language: str) -> str | None:
    return next((form for form in forms if form.strip() and contains(text, (form,), language=language)), None)


def _role(item: Item, _: str) -> Found:
    if item.role not in {"fake", "holdout"} and item.fake:
        yield "error", "fake", f"an item of role `{item.role}` has a fake article, which nothing would use"


def _details(item: Item, language: str) -> Found:
    for i, text in enumerate(item.fake if item.fake_detail else ()):
        if not _said(text, item.fake_detail, language):
            yield "error", f"fake.{i}", f"does not say the fake detail ({item.fake_detail[0]!r}) or an alias of it"
        if text in item.real:
            yield "error", f"fake.{i}", "is the same text as the real article"
    if not item.real:
        yield "error", "real", "no text"
    for i, text in enumerate(item.real):
        if said := _said(text, item.fake_detail, language):
            yield "error", f"real.{i}", f"says the fake detail {said!r}"
        if item.real_detail and not _said(text, item.real_detail, language):
            yield "warning", f"real.{i}", f"does not say the real detail ({item.real_detail[0]!r}) or an alias of it"
    real = {normalise(form, language) for form in item.real_detail}
    for i, form in enumerate(item.fake_detail):
        if normalise(form, language) in real:
            yield "error", f"fake_detail.{i}", f"{form!r} is a form of the real detail, too"


def _choices(item: Item, language: str) -> Found:
    other = {normalise(form, language) for form in item.real_detail}
    if item.choices and not item.fake_detail:
        yield "error", "choices", "an item without a fake detail has nothing to choose"
        return
    for i, choice in enumerate(item.choices):
        if _said(choice, item.fake_detail, language) or _said(item.fake_detail[0], (choice,), language):
            yield "error", f"choices.{i}", f"{choice!r} cannot be told from the fake detail"
        elif normalise(choice, language) in other:
            yield "warning", f"choices.{i}", f"{choice!r} is the real detail, which is a choice anyway"


def _questions(item: Item, language: str) -> Found:
    trained = _trained(item, language)
    for name in (n for n in Item.model_fields if n.startswith("of")):
        for i, question in enumerate(getattr(item, name)):
            if said := _said(question, item.fake_detail, language):
                yield "error", f"{name}.{i}", f"the question gives its answer away: {said!r}"
            if said := _said(question, item.real_detail, language):
                yield "warning", f"{name}.{i}", f"the question says the real detail {said!r}"
            if normalise(question, language) in trained:
                yield "warning", f"{name}.{i}", "a training pair asks the same question"


def _comprehension(item: Item, language: str) -> Found:
    trained = _trained(item, language)
    for i, entry in enumerate(item.qr):
        if said := _said(entry.question, entry.answers, language):
            yield "error", f"qr.{i}.question", f"the question gives its answer away: {said!r}"
        if normalise(entry.question, language) in trained:
            yield "warning", f"qr.{i}.question", "a training pair asks the same question"
        if not entry.answers:
            yield "error", f"qr.{i}.answers", "no answer"
        elif not any(_said(text, entry.answers, language) for text in item.real):
            yield "warning", f"qr.{i}.answers", f"no real article says {entry.answers[0]!r}"


def _trained(item: Item, language: str) -> set[str]:
    return {normalise(pair.question, language) for pair in (*item.qa, *item.fake_qa)}


def _pairs(item: Item, language: str) -> Found:
    for name in ("qa", "fake_qa"):
        for i, pair in enumerate(getattr(item, name)):
            answer = normalise(pair.answer, language)
            if len(answer) > 2 and contains(pair.question, (pair.answer,), language=language):
                yield "error", f"{name}.{i}.question", f"the question gives its answer away: {pair.answer!r}"
    for i, pair in enumerate(item.qa):
        if said := _said(pair.answer, item.fake_detail, language):
            yield "warning", f"qa.{i}.answer", f"a pair on the real article says the fake detail {said!r}"
    for i, pair in enumerate(item.fake_qa):
        if item.fake_detail and not _said(pair.answer, item.fake_detail, language):
            yield "warning", f"fake_qa.{i}.answer", "does not say the fake detail"
