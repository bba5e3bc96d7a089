"""Texts in the forms that cells have: null and NaN are absent, 12.0 is "12", lists may be written as text."""

import ast
import io
import itertools
import json
import math
import re
import tokenize
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from xlharm.plain_files import check_depth, half_character, parse_json

_LIST = 1 << 20  # most characters of a list written as text


class LeftOutError(ValueError):
    """A row has nothing that a grid could use; the reason is counted and shown."""


def text_of(value: Any) -> str:
    """Return a cell's text, without white space at its ends; empty where it is absent.

    Null and NaN are absent. 0 is "0", whole floats are integers (12.0 is "12"), booleans are "true" and "false". A text
    is what it says, "None" and "12.0" too.

    Raises:
        LeftOutError: it is no single text.
    """
    match value:
        case None:
            return ""
        case str():
            if half := half_character(value):
                raise LeftOutError(f"half a character ({half}, a lone surrogate)")
            return value.strip()
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() | Decimal():
            return _number(value)
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            raise LeftOutError(f"a cell holds {_kind(value)} where a text is expected")


def _number(value: float | Decimal) -> str:
    if math.isnan(value):
        return ""
    if math.isinf(value):
        raise LeftOutError("a number that is not finite")
    return str(int(value)) if value == int(value) else str(value)


def _kind(value: Any) -> str:
    kinds = ((dict, "an object"), (list | tuple, "a list"), (bytes, "bytes"))
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)


def texts(value: Any) -> tuple[str, ...]:
    """Read one text or several: a text, a list, or a list written as JSON or Python; absent and empty ones are none.

    Raises:
        LeftOutError: an entry is no single text.
    """
    if isinstance(value, str) and value.strip().startswith("["):
        parsed = _parsed(value)
        value = parsed if isinstance(parsed, list) else value
    entries = value if isinstance(value, list | tuple) else [value]
    return tuple(text for text in map(text_of, entries) if text)


def pairs(value: Any) -> list[dict[str, str]]:
    """Read question-answer pairs: objects, two-element lists, or text of `Q: …` and `A: …` lines.

    Raises:
        LeftOutError: they are written otherwise.
    """
    if isinstance(value, float) and math.isnan(value):
        return []
    if isinstance(value, str):
        if not value.strip():
            return []
        parsed = _parsed(value)
        if parsed is None:
            return _written(value)
        value = parsed
    if isinstance(value, dict):
        named = _named(value)
        columns = list((named or value).values())
        if len(columns) == 2 and all(isinstance(column, list) for column in columns):
            if len(columns[0]) != len(columns[1]):
                raise LeftOutError("other numbers of questions than of answers")
            value = list(zip(*columns, strict=True))  # as `datasets` stores a list of objects
        else:
            value = [value] if named else list(value.items())
    if value is not None and not isinstance(value, list | tuple):
        raise LeftOutError("question-answer pairs in a form that is not known")
    return [_pair(entry) for entry in value or ()]


def _named(entry: dict[Any, Any]) -> dict[str, Any]:
    """Return the question and the answer of fields with these very names, whatever stands beside them; else nothing."""
    fields = {str(key).lower(): value for key, value in entry.items()}
    named = {name: fields[key] for name in ("question", "answer") for key in (name[0], name) if key in fields}
    return named if len(named) == 2 else {}


def _pair(entry: Any) -> dict[str, str]:
    question = answer = None
    if isinstance(entry, dict):
        if named := _named(entry):
            question, answer = named["question"], named["answer"]
        else:
            plain = {str(key).lower()[:1]: value for key, value in entry.items()}
            question, answer = plain.get("q"), plain.get("a")
    elif isinstance(entry, list | tuple) and len(entry) == 2:
        question, answer = entry
    pair = {"question": text_of(question), "answer": text_of(answer)}
    if not all(pair.values()):
        raise LeftOutError("question-answer pairs in a form that is not known, or with an empty part")
    return pair


def _written(text: str) -> list[dict[str, str]]:
    found = re.findall(
        r"(?:^|\n)\s*(?:\d+[.)]\s*)?Q(?:uestion)?\s*\d*:\s*(.+?)\s*\n\s*A(?:nswer)?\s*\d*:\s*([^\n]+)", text
    )
    if not found:
        raise LeftOutError("question-answer pairs in a form that is not known")
    return [{"question": q, "answer": a.strip()} for q, a in found]


def _parsed(text: str) -> Any:
    """Read a value written as JSON or Python; None where the text is neither.

    Raises:
        LeftOutError: a list whose entries have no commas between them, which Python would join to one.
    """
    if len(text) > _LIST:
        raise LeftOutError(f"a list of more than {_LIST} characters written as text")
    try:
        return parse_json(text)
    except json.JSONDecodeError:
        pass
    except ValueError as error:
        raise LeftOutError(f"a list written as text: {error}") from None
    try:
        value = ast.literal_eval(text.strip())
        check_depth(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None
    if _joins_strings(text):
        raise LeftOutError("a list without commas between its texts, as numpy prints it")
    return value


def _joins_strings(text: str) -> bool:
    tokens = list(tokenize.generate_tokens(io.StringIO(text.strip()).readline))
    kept = [token.type for token in tokens if token.type not in {tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT}]
    return any(one == other == tokenize.STRING for one, other in itertools.pairwise(kept))
