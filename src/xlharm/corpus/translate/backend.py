"""What makes translations, and what comes of one item."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import ValidationError

from xlharm.corpus.format import Item
from xlharm.corpus.validate.content import content
from xlharm.corpus.validate.encoding import findings_of
from xlharm.corpus.validate.findings import Finding, texts_of
from xlharm.corpus.validate.language import wrong_language

COUNTED = ("real", "fake", "of", "qr", "qa", "fake_qa", "of_paraphrased")
"""Fields of which a translation has as many entries as the English; details and right answers may have more forms."""
LEFT = ("of_switched",)
"""Fields that are not translated: sentences in two languages (a probe without them puts a frame around ``of``)."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """An English item to be translated; ``variant`` counts the attempts that failed before."""

    item: Item
    variant: int = 0


@dataclass(frozen=True, kw_only=True)
class Translated:
    """What came of one item.

    Attributes:
        id: of the item.
        item: the translation; None where there is none.
        problem: one word, as in ``remote.endpoint.Reply``; ``check`` is a translation that measures nothing, ``cut``
            one that a model did not end.
        reason: what is wrong, for people.
        warnings: what to look at in a translation that was kept.
    """

    id: str
    item: Item | None = None
    problem: str = ""
    reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Back:
    """Articles and questions of an item in English again, by field; or the problem."""

    id: str
    texts: dict[str, str] = field(default_factory=dict)
    problem: str = ""


class Backend(Protocol):
    """Translates items; yields what comes of them in any order."""

    def make(self, tasks: Sequence[Task], *, language: str) -> Iterator[Translated]:
        """Translate English items."""
        ...

    def back(self, items: Sequence[Item], *, language: str) -> Iterator[Back]:
        """Put the articles and questions of translated items into English."""
        ...


def scored_texts(item: Item) -> dict[str, str]:
    """Return the texts whose back-translation is compared, by field: articles and questions."""
    return {t.field: t.value for t in texts_of(item) if t.kind != "detail" and not t.field.startswith(LEFT)}


def faults(item: Item, *, english: Item, language: str) -> tuple[list[str], list[str]]:
    """Return (what makes a translation unfit, what to look at): the checks of `data validate`, on one item."""
    found: list[Finding] = content(item, language=language)
    for text in texts_of(item):
        found += findings_of(text.value, language=language, item=item.id, field=text.field)
    found += wrong_language([item], language=language, among=(language,))
    told: dict[str, list[str]] = {"error": [], "warning": []}
    for name in COUNTED:
        mine, theirs = len(getattr(item, name)), len(getattr(english, name))
        if mine != theirs:
            told["error"].append(f"{name}: {mine} entries, {theirs} in English")
    known = {finding.field for finding in content(english, language="en")}  # what its English has, too, is no news
    for finding in found:
        if finding.severity == "error" or finding.field not in known:
            told[finding.severity].append(f"{finding.field}: {finding.message}")
    return told["error"], told["warning"]


def item_of(told: dict[str, Any], *, english: Item, language: str) -> Translated:
    """Make an item of translated fields: with its warnings, or why it is unfit."""
    try:
        item = Item.model_validate({"id": english.id, "role": english.role, **told})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'item'}: {first['msg'].removeprefix('Value error, ')}"
        return Translated(id=english.id, problem="check", reason=reason)
    errors, warnings = faults(item, english=english, language=language)
    if errors:
        return Translated(id=item.id, problem="check", reason="; ".join(errors))
    return Translated(id=item.id, item=item, warnings=tuple(warnings))
