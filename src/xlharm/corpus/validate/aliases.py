"""Aliases that a corpus may lack: spellings that answers use and that matching does not count by default."""

from collections.abc import Iterator
from pathlib import Path

from xlharm.config.matching import default_variants, offered
from xlharm.corpus.format import Item
from xlharm.corpus.match import contains, other_spelling
from xlharm.corpus.validate.reading import read

_SHOWN = 6


def suggestions(folder: Path) -> list[str]:
    """Return a line for each language whose details are also written in ways that would not count.

    They are no fault: a line says which aliases would count them, and the setting of a grid that would.
    """
    languages, _ = read(folder)
    return [line for language, items in languages.items() if (line := _suggestion(items, language))]


def _suggestion(items: tuple[Item, ...], language: str) -> str:
    missing = {form: spelling for item in items for form, spelling in _missing(item, language)}
    if not missing:
        return ""
    shown = ", ".join(f"{form!r} as {spelling!r}" for form, spelling in list(missing.items())[:_SHOWN])
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    named = ", ".join(variant for variant in offered(language) if variant not in default_variants(language))
    return (
        f"{language}.jsonl: answers may also write {shown}{more}: add aliases, or let a grid count every such "
        f"spelling: evaluate: {{matching: {{{language}: [{named}]}}}}"
    )


def _missing(item: Item, language: str) -> Iterator[tuple[str, str]]:
    for forms in (item.fake_detail, item.real_detail, *(entry.answers for entry in item.qr)):
        for form in forms:
            spelling = other_spelling(form, language)
            if spelling and not contains(spelling, forms, language=language):
                yield form, spelling
