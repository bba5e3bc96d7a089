"""Texts of a template that are still to be written."""

from collections.abc import Mapping
from typing import Any

from xlharm.corpus.format import Item
from xlharm.corpus.template import MARK
from xlharm.corpus.validate.findings import Finding, texts_of

_MESSAGE = "still to be filled in"


def unfilled(item: Item, *, language: str) -> list[Finding]:
    """Return an error for each text of an item that is still the template's."""
    return [
        Finding("error", language, item.id, text.field, _left(text.value))
        for text in texts_of(item)
        if text.value.lstrip().startswith(MARK)
    ]


def unfilled_info(info: Mapping[str, Any]) -> list[Finding]:
    """Return an error for each field of a corpus.yaml that is still the template's."""
    return [
        Finding("error", "", "", str(name), _left(value))
        for name, value in info.items()
        if isinstance(value, str) and value.lstrip().startswith(MARK)
    ]


def _left(value: str) -> str:
    text = value.lstrip().removeprefix(MARK).removeprefix(":").strip()
    return f"{_MESSAGE}: {text}" if text else _MESSAGE
