"""What a check found, and the texts of an item under the names that findings give them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from xlharm.corpus.format import Item

Severity = Literal["error", "warning"]
Kind = Literal["article", "question", "detail"]
_ARTICLES = {"real", "fake"}
_NOT_TEXT = {"id", "role"}


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a corpus.

    Attributes:
        severity: an ``error`` stops a run, a ``warning`` is printed.
        language: whose file it is in; empty for the corpus as a whole.
        item: id of the item; empty for a file as a whole.
        field: as in ``qa.0.answer``; empty for an item as a whole.
        message: what is wrong.
    """

    severity: Severity
    language: str
    item: str
    field: str
    message: str

    def __str__(self) -> str:
        file = f"{self.language}.jsonl" if self.language else "corpus.yaml"
        return ": ".join(part for part in (file, self.item, self.field, self.message) if part)


_NAMED = 3  # items named beside the first
_DATA = re.compile(r"'[^']*'|\"[^\"]*\"|item \S+|U\+[0-9A-F]{4,6}|\d+")


@dataclass(frozen=True)
class Group:
    """Findings of one kind in one language: they differ in item, place in a list and quoted text alone.

    Attributes:
        first: the first of them.
        others: items (or lines) of the others, each once.
        count: how many findings there are.
    """

    first: Finding
    others: tuple[str, ...]
    count: int

    def __str__(self) -> str:
        if self.count == 1:
            return str(self.first)
        named = ", ".join(self.others[:_NAMED]) + (", …" if len(self.others) > _NAMED else "")
        return f"{self.first} (and {self.count - 1} more of this kind{f': {named}' if named else ''})"


def grouped(findings: Iterable[Finding]) -> list[Group]:
    """Group findings by kind, in the order of each kind's first."""
    kinds: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        field = re.sub(r"\.\d+", "", finding.field)
        kind = (finding.severity, finding.language, field, _DATA.sub("…", finding.message))
        kinds.setdefault(kind, []).append(finding)
    groups = []
    for first, *rest in kinds.values():
        others = dict.fromkeys(finding.item for finding in rest if finding.item and finding.item != first.item)
        groups.append(Group(first, tuple(others), 1 + len(rest)))
    return groups


@dataclass(frozen=True)
class FieldText:
    """A text of an item with the name of its field."""

    field: str
    kind: Kind
    value: str


def texts_of(item: Item) -> Iterator[FieldText]:
    """Yield every text of an item; fields that the schema gains later included."""
    for name in Item.model_fields:
        if name not in _NOT_TEXT:
            yield from _walk(name, getattr(item, name))


def _walk(path: str, value: Any) -> Iterator[FieldText]:
    if isinstance(value, str):
        yield FieldText(path, _kind(path), value)
    elif isinstance(value, tuple):
        for i, entry in enumerate(value):
            yield from _walk(f"{path}.{i}", entry)
    elif value is not None:
        for name in type(value).model_fields:
            yield from _walk(f"{path}.{name}", getattr(value, name))


def _kind(path: str) -> Kind:
    first = path.split(".", maxsplit=1)[0]
    if first in _ARTICLES:
        return "article"
    return "question" if path.endswith(".question") or first.startswith("of") else "detail"
