"""Damage of encoding: text decoded wrongly, letters of a neighbouring script, forms that are not normalised."""

import html
import unicodedata
from collections.abc import Iterator

import regex

from xlharm.data.validate.findings import Finding, Severity

# A run of characters that are what UTF-8 bytes look like when read as Windows-1252 or Latin-1.
_MOJIBAKE = regex.compile("[\u0080-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2010-\u203a\u20ac\u2122]{2,}")  # fmt: skip
_ARABIC_IN_URDU = regex.compile("[\u064a\u0643]")  # yeh and kaf as Arabic keyboards write them
_HEH_IN_URDU = regex.compile("\u0647")
_PRESENTATION = regex.compile("[\ufb13-\ufb17\ufb50-\ufdcf\ufe70-\ufefc]")
_INVISIBLE = regex.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_BAD = regex.compile(r"[\p{Cc}\p{Cs}\p{Co}\p{Cn}--[\n\t]]", regex.VERSION1)
_MIXED = regex.compile(
    r"\p{L}*(?:\p{Latin}\p{M}*(?:\p{Cyrillic}|\p{Armenian})|(?:\p{Cyrillic}|\p{Armenian})\p{M}*\p{Latin})\p{L}*"
)
_ENTITY = regex.compile(r"&(?:[a-z]{2,8}|#\d{2,6});", regex.IGNORECASE)


def damage(text: str, *, language: str) -> Iterator[tuple[Severity, str]]:
    """Yield (severity, message) for every sort of damage in a text."""
    if not text.strip():
        yield "error", "empty"
        return
    if "\ufffd" in text:
        yield "error", "has U+FFFD: it was decoded with errors"
    if found := _BAD.search(text):
        yield "error", f"has the control or private character U+{ord(found.group()):04X}"
    if broken := next((run for run in _MOJIBAKE.findall(text) if _repaired(run)), None):
        yield "error", f"looks like mojibake: {broken!r} stands for {_repaired(broken)!r}"
    if unicodedata.normalize("NFC", text) != text:
        yield "error", "is not Unicode-normalised (NFC)"
    if found := _PRESENTATION.search(text):
        yield "error", f"has the presentation form U+{ord(found.group()):04X} where a letter belongs"
    if found := _MIXED.search(text):
        yield "error", f"mixes scripts within the word {found.group()!r}"
    if (found := _ENTITY.search(text)) and html.unescape(found.group()) != found.group():
        yield "error", f"has the HTML entity {found.group()!r}"
    if language.startswith("ur") and (found := _ARABIC_IN_URDU.search(text)):
        yield "error", f"has the Arabic letter U+{ord(found.group()):04X} where Urdu has its own"
    if language.startswith("ur") and _HEH_IN_URDU.search(text):
        yield "warning", "has the Arabic letter U+0647 where Urdu has U+06C1"
    if found := _INVISIBLE.search(text):
        yield "warning", f"has the invisible character U+{ord(found.group()):04X}"
    if text != text.strip():
        yield "warning", "begins or ends with white space"


def _repaired(run: str) -> str:
    """Return what a run says when its bytes are read as UTF-8, or nothing."""
    for codec in ("cp1252", "latin-1"):
        try:
            return run.encode(codec).decode("utf-8")
        except UnicodeError:
            continue
    return ""


def findings_of(text: str, *, language: str, item: str, field: str) -> list[Finding]:
    """Return the damage of one field as findings."""
    return [Finding(severity, language, item, field, told) for severity, told in damage(text, language=language)]
