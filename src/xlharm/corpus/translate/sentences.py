"""Cuts texts into sentences for a translation model, and joins the translations."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import regex

# Scripts that write no space after a sentence.
_UNSPACED = {"zh", "ja", "th", "lo", "my", "km"}
_CLOSING = r"[\"'”’»)\]」』]*"
_END = regex.compile(rf"[.!?…؟۔։।]+{_CLOSING}(?=\s)|[。！？]+{_CLOSING}|(?=\n)")
_CLAUSE = regex.compile(r"[,;:—–،؛、，；：]\s*")
# A full stop after one of these abbreviations, or after a single letter, does not end a sentence.
_ABBREVIATION = regex.compile(
    r"(?:^|[\s(“\"])(?:\p{L}|\p{L}\.\p{L}|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|No|Nos|vs|etc|approx|Gen|Col|Sgt|Rev|Hon|Fig|al|Inc|Ltd|Co)\.$"
)
_CONTROL = regex.compile(r"[\p{Cc}\p{Cs}\p{Co}\p{Cn}\u2028\u2029\ufeff\ufffd--[\n]]+", regex.VERSION1)
_URDU = str.maketrans({"ي": "ی", "ك": "ک"})


@dataclass(frozen=True)
class Piece:
    """A sentence and the white space after it."""

    text: str
    gap: str = ""


def sentences(text: str) -> list[Piece]:
    """Cut a text at the ends of sentences. Sentences and gaps together are the text again."""
    cuts = [m.end() for m in _END.finditer(text) if not _inside(text, m.end())]
    pieces, begin = [], 0
    for cut in [*cuts, len(text)]:
        body = text[begin:cut]
        sentence = body.strip()
        if not sentence:
            continue
        end = begin + len(body.rstrip())
        after = len(text) - len(text[end:].lstrip())
        pieces.append(Piece(sentence, text[end:after]))
        begin = after
    return pieces


def _inside(text: str, at: int) -> bool:
    """Whether an apparent end of a sentence is an abbreviation's full stop, or is followed by a lower-case letter."""
    following = text[at:].lstrip(" \t\"'“‘«(")[:1]
    return following.islower() or bool(_ABBREVIATION.search(text[max(0, at - 12) : at]))


def join(pieces: list[Piece], *, language: str) -> str:
    """Join translated sentences with the line breaks of the original, and spaces in languages that write them."""
    spaced = language.split("-", maxsplit=1)[0] not in _UNSPACED
    texts = (p.text + (p.gap if "\n" in p.gap else " " if spaced else "") for p in pieces)
    return "".join(texts).strip()


def fitted(text: str, *, limit: int, count: Callable[[str], int]) -> list[Piece]:
    """Cut a text that is too long for a model: between clauses, else between words, else in the middle.

    Args:
        text: a sentence.
        limit: largest number of tokens of a piece.
        count: returns the number of tokens of a text.
    """
    if count(text) <= limit or len(text) < 2:
        return [Piece(text)]
    cuts = [m.end() for m in _CLAUSE.finditer(text)] or [m.end() for m in regex.finditer(r"\s+", text)]
    cuts = [cut for cut in cuts if 0 < cut < len(text)] or [len(text) // 2]
    at = min(cuts, key=lambda cut: abs(2 * cut - len(text)))
    left, right = text[:at], text[at:]
    gap = left[len(left.rstrip()) :]
    before = fitted(left.rstrip(), limit=limit, count=count)
    return [*before[:-1], Piece(before[-1].text, gap), *fitted(right, limit=limit, count=count)]


def clean(text: str, *, language: str) -> str:
    """Repair a model's text: Unicode normal form C, no control characters, and Urdu letters instead of Arabic ones."""
    text = _CONTROL.sub(" ", unicodedata.normalize("NFC", text)).strip()
    return text.translate(_URDU) if language.split("-", maxsplit=1)[0] == "ur" else text
