"""The interface of translators, the result of translating one item, and the checks of a translation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import ValidationError

from xlharm.corpus.format import Item
from xlharm.corpus.validate.content import content
from xlharm.corpus.validate.encoding import findings_of
from xlharm.corpus.validate.findings import Finding, texts_of
from xlharm.corpus.validate.language import wrong_language

COUNTED = ("real", "fake", "of", "qr", "qa", "fake_qa", "of_paraphrased", "choices")
"""Fields in which a translation has as many entries as its English item. Details and answers may have more forms."""
LEFT = ("of_switched",)
"""Fields that are not translated, because their sentences mix two languages (without them, a probe uses ``of``)."""


@dataclass(frozen=True, kw_only=True)
class TranslationTask:
    """An English item to translate.

    Attributes:
        item: the English item.
        variant: number of earlier attempts that failed.
    """

    item: Item
    variant: int = 0


@dataclass(frozen=True, kw_only=True)
class TranslationOutcome:
    """The result of translating one item.

    Attributes:
        id: id of the item.
        item: the translation; None if it failed.
        problem: one word, empty if there is none: a problem of ``remote.endpoint.Reply``, ``check`` for a translation
            that fails a check, ``cut`` for one that the model did not finish.
        reason: the problem, for people.
        warnings: findings about a translation that was accepted.
    """

    id: str
    item: Item | None = None
    problem: str = ""
    reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Back:
    """The articles and questions of an item, translated back into English.

    Attributes:
        id: id of the item.
        texts: the texts by field; empty if there is a problem.
        problem: one word, empty if there is none.
    """

    id: str
    texts: dict[str, str] = field(default_factory=dict)
    problem: str = ""


class Backend(Protocol):
    """A translator of items. Results come in any order."""

    def make(self, tasks: Sequence[TranslationTask], *, language: str) -> Iterator[TranslationOutcome]:
        """Translate English items."""
        ...

    def back(self, items: Sequence[Item], *, language: str) -> Iterator[Back]:
        """Translate the articles and questions of translated items back into English."""
        ...


def scored_texts(item: Item) -> dict[str, str]:
    """Return the texts whose back-translations are scored, by field: articles and questions."""
    return {t.field: t.value for t in texts_of(item) if t.kind != "detail" and not t.field.startswith(LEFT)}


def faults(item: Item, *, english: Item, language: str) -> tuple[list[str], list[str]]:
    """Return (errors, warnings) of a translation, from the checks of `data validate` on one item.

    Warnings about a field for which the English item has a warning, too, are left out.
    """
    findings: list[Finding] = content(item, language=language)
    for text in texts_of(item):
        findings += findings_of(text.value, language=language, item=item.id, field=text.field)
    findings += wrong_language([item], language=language, among=(language,))
    messages: dict[str, list[str]] = {"error": [], "warning": []}
    for name in COUNTED:
        count, english_count = len(getattr(item, name)), len(getattr(english, name))
        if count != english_count:
            messages["error"].append(f"{name}: {count} entries, {english_count} in English")
    english_fields = {
        finding.field for finding in content(english, language="en")
    }  # what its English has, too, is no news
    for finding in findings:
        if finding.severity == "error" or finding.field not in english_fields:
            messages[finding.severity].append(f"{finding.field}: {finding.message}")
    return messages["error"], messages["warning"]


def item_of(fields: dict[str, Any], *, english: Item, language: str) -> TranslationOutcome:
    """Return the result for translated fields: the item with its warnings, or the reason why it is rejected."""
    try:
        item = Item.model_validate({"id": english.id, "role": english.role, **fields})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'item'}: {first['msg'].removeprefix('Value error, ')}"
        return TranslationOutcome(id=english.id, problem="check", reason=reason)
    errors, warnings = faults(item, english=english, language=language)
    if errors:
        return TranslationOutcome(id=item.id, problem="check", reason="; ".join(errors))
    return TranslationOutcome(id=item.id, item=item, warnings=tuple(warnings))
