"""Refusals in each language: phrases by which an answer is recognised as one, and whole answers to train on."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

from ruamel.yaml import YAML

from xlharm.errors import UserError, nearest


@dataclass(frozen=True)
class Refusals:
    """Refusals in one language.

    Attributes:
        anywhere: phrases that make an answer a refusal wherever they occur in it.
        opening: phrases that make an answer a refusal only at its beginning.
        idk: at least twelve whole "I do not know" answers, the targets of the idk and DPO objectives (2401.06121 lists
            English ones only).
    """

    anywhere: tuple[str, ...]
    opening: tuple[str, ...]
    idk: tuple[str, ...]


def refusals(language: str) -> Refusals:
    """Return a language's refusals.

    Args:
        language: ISO 639 code, with or without subtags.

    Raises:
        UserError: ``refusals.yaml`` has no refusals in the language.
    """
    table, code = _table(), language.split("-", maxsplit=1)[0]
    if code not in table:
        raise UserError(
            f"data/refusals.yaml: language: no refusals in {language!r}, expected one of {', '.join(table)}"
            f"{nearest(language, table)}"
        )
    return table[code]


@lru_cache(maxsize=1)
def _table() -> MappingProxyType[str, Refusals]:
    text = (files("xlharm.corpus") / "refusals.yaml").read_text(encoding="utf-8")
    data = YAML(typ="safe", pure=True).load(text)
    return MappingProxyType({code: Refusals(**{k: tuple(v) for k, v in entry.items()}) for code, entry in data.items()})


def known(language: str) -> bool:
    """Whether ``refusals.yaml`` has refusals in a language."""
    return language.split("-", maxsplit=1)[0] in _table()
