"""Seeded changes of texts and of YAML and JSON values, towards what breaks readers."""

import contextlib
import copy
import json
import random
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

TOKENS = (
    "!!python/object/apply:os.system [x]", "!mine ", "&a [*a]", "*a", "<<: *a", "&a ", "2024-01-01", "12:30:00",
    "9" * 5000, "[" * 900, "{a: " * 90, "\ud800", "\x00", "\u202e", "\x1b[2J\x1b]0;x\x07", "[/b]", "[bold]",
    ":smile:", ".inf", "-.nan", "0x1F", "0o17", "1_000", "~nobody/x", "%TAG ! x", "---\n", "...\n", "\t", "\ufeff",
    '"', "'", "null", "yes", "NaN", "1e999", "-0", "? ", ": ", "- ", ", ", "\n", "\r", "\r\n", "\u2028", "{}", "[]",
    "{answer}", "{", "}", "%s", "../..", "x" * 300, "\\ud83d", "\\u0000", "\U0001f600", "é" * 200, "# ", "|2\n",
    ">\n", "==", "=", ".", "/", "//", "@", "$HOME",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2**31, 2**63, 10**400, -1e308, 1e308, float("inf"), float("nan"), "", " ", "x",
    "x" * 5000, "\ud800", "\x00", "\x1b[31m", "\u202e", "[/b]", "~nobody/x", "/dev/null/x", "/dev/full", ".", "..",
    "org/model", "none", "source", "en", "xx", "2024-01-01", [], {}, [[]], [{}], {"": ""}, {"a": {"b": []}}, [None],
    [True, "x"], ["en", "en"], {"kind": "x"}, {"objective": []}, [1, 2, 3], "1", "1e5", "{answer}",
    "{question} {x}", "a" * 64, 0.5, -0.0, 3,
)  # fmt: skip


def changed(text: str, rng: random.Random, *, other: str) -> str:
    """Return a text with one to four changes; ``other`` is a text to take pieces from."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        end = min(end, at + rng.choice((1, 3, 20, 400)))
        match rng.randrange(7):
            case 0:
                text = text[:at] + text[end:]
            case 1 | 2:
                text = text[:at] + rng.choice(TOKENS) + text[at:]
            case 3:
                text = text[:at] + rng.choice(TOKENS) + text[end:]
            case 4:
                text = text[:end] + text[at:]
            case 5:
                start = rng.randint(0, len(other))
                text = text[:at] + other[start : start + rng.choice((5, 50, 500))] + text[end:]
            case _:
                text = text[:at]
    return text[:200_000]


def changed_value(value: Any, rng: random.Random) -> Any:
    """Return a copy of plain data in which one or two entries are replaced, removed, renamed or doubled."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2))):
        places = list(_places(value))
        if not places:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("", "x", "name", "kind", 1, "\x1b", "a.b"))] = holder.pop(key)
            case 2 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case 3:
                holder[key] = [holder[key]]
            case _:
                holder[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def _places(value: Any) -> Any:
    """Yield (container, key) of every entry of nested lists and mappings."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def as_json(value: Any) -> str:
    """Write a value as JSON, with what JSON has no form for."""
    return json.dumps(value, ensure_ascii=False)


def as_yaml(value: Any) -> str:
    """Write a value as YAML."""
    out = StringIO()
    YAML(typ="safe", pure=True).dump(value, out)
    return out.getvalue()


def structured(
    text: str, rng: random.Random, *, read: Callable[[str], Any], write: Callable[[Any], str], other: str
) -> str:
    """Change a text by its values, or by its characters where it cannot be read or written or the die says so."""
    if rng.random() < 0.6:
        with contextlib.suppress(Exception):  # an earlier change made it unreadable, or the value has no such form
            return write(changed_value(read(text), rng))
    return changed(text, rng, other=other)


def lines_changed(text: str, rng: random.Random, *, other: str) -> str:
    """Change one line of JSON lines, or the text."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    lines[at] = structured(lines[at], rng, read=json.loads, write=as_json, other=other)
    return "\n".join(lines)


def words_changed(words: Sequence[str], rng: random.Random, *, vocabulary: Sequence[str]) -> list[str]:
    """Change a command line: words are replaced, removed, added or changed themselves."""
    words = list(words)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randint(0, len(words))
        match rng.randrange(5):
            case 0 if words:
                del words[at % len(words)]
            case 1:
                words.insert(at, rng.choice(vocabulary))
            case 2:
                words.insert(at, rng.choice(TOKENS).replace("\x00", ""))
            case 3 if words:
                words[at % len(words)] = rng.choice(vocabulary)
            case _ if words:
                words[at % len(words)] = changed(words[at % len(words)], rng, other="").replace("\x00", "")
    return words
