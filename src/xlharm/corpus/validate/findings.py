"""What a check found, and the texts of an item under the names that findings give them."""

from collections.abc import Iterator
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
