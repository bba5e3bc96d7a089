"""Text, JSON and YAML that somebody else wrote, read with limits: a mistake is one line with its place and its fix."""

import json
import os
import re
import shlex
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, ScalarEvent

from xlharm.errors import UserError
from xlharm.visible import one_line

MAX_BYTES = 2 << 30
"""Most bytes of a data file: all of it is read into memory."""
MAX_DEPTH = 64
"""Most levels of brackets in JSON and YAML."""
MAX_NODES = 20_000
"""Most values of a YAML file, those that aliases repeat counted as often as they are repeated."""
_YAML_BYTES = 1 << 20
_NAME_BYTES = 255
_HALF = re.compile("[\\ud800-\\udfff]")
_HALF_WRITTEN = re.compile(r"\\u[dD][89a-fA-F]")


def expanded(name: str) -> Path:
    """Return a path with ``~`` and ``~user`` replaced; a user that is not known stays as written.

    Raises:
        UserError: a part of it is longer than file systems allow.
    """
    if any(len(os.fsencode(part)) > _NAME_BYTES for part in Path(name).parts):
        raise UserError(f"{name[:60]}…: a file's name has at most {_NAME_BYTES} bytes")
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def read_text(path: Path, *, most: int = MAX_BYTES) -> str:
    """Read a UTF-8 file, with or without a byte order mark; ends of lines stay as they are.

    Raises:
        UserError: it cannot be read, is too large, or is not UTF-8; then the likely encoding and the fix are named.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: expected a file")
        size = path.stat().st_size
        if size > most:
            raise UserError(f"{path}: has {size} bytes; at most {most} are read")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if (wide := _utf16(data)) is not None:
        raise UserError(_not_utf8(path, "two bytes a letter", encoding=wide))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        place = f"line {line}, byte 0x{data[error.start]:02X}"
        raise UserError(_not_utf8(path, place, encoding=_encoding(data))) from None


def _not_utf8(path: Path, place: str, *, encoding: str) -> str:
    name = encoding.replace("_", "-").upper()
    better = path.with_name(f"{path.stem}.utf8{path.suffix}")
    fix = f"iconv -f {name} -t UTF-8 {shlex.quote(str(path))} > {shlex.quote(str(better))}"
    return f"{path}: not UTF-8 ({place}); it looks like {encoding.replace('_', '-')}; convert it: {fix}"


def _utf16(data: bytes) -> str | None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf_16"
    head = data[:10_000]
    halves = (("utf_16_le", head[1::2]), ("utf_16_be", head[0::2]))
    return next((name for name, high in halves if high.count(0) > len(high) // 3), None)


def _encoding(data: bytes) -> str:
    """Guess which encoding bytes are in that are not UTF-8."""
    head = data[:100_000]
    high = sum(byte > 127 for byte in head)
    alone = not re.search(rb"[\x80-\xff]{3}", head)  # single letters with accents, as in Western Europe
    if alone and (high < 12 or high < len(head) // 8):  # too few to tell code pages apart
        return "cp1252"
    from charset_normalizer import from_bytes  # noqa: PLC0415 - needed for such files only

    best = from_bytes(head).best()
    return best.encoding if best is not None else "cp1252"


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is not JSON, is nested too deeply, has a number of thousands of digits or half a character.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python's own limit for numbers
        raise ValueError("a number of thousands of digits") from None
    check_depth(value)
    if _HALF_WRITTEN.search(text):
        for string in _strings(value):
            if half := half_character(string):
                raise ValueError(f"half a character ({half}, a lone surrogate) in {string[:40]!a}")
    return value


def half_character(text: str) -> str | None:
    """Return the code of a lone surrogate, which no file can hold, or None."""
    hit = _HALF.search(text)
    return f"U+{ord(hit.group()):04X}" if hit else None


def check_depth(value: Any) -> None:
    """Check how deeply lists and objects lie in each other.

    Raises:
        ValueError: more than ``MAX_DEPTH`` levels.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _inner(value: Any) -> Iterator[Any]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    yield from (entry for entry in inside if isinstance(entry, dict | list))


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, entry in value.items():
                yield from _strings(key)
                yield from _strings(entry)
        case list():
            for entry in value:
                yield from _strings(entry)


class _Constructor(SafeConstructor):
    """Reads dates as the text that stands there: JSON and keys know no dates."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def read_yaml(path: Path) -> Any:
    """Read a YAML 1.2 file; dates stay text.

    Raises:
        UserError: file, line and what is wrong: not YAML, a tag, too many levels or values, not UTF-8.
    """
    return parse_yaml(read_text(path, most=_YAML_BYTES), name=str(path))


def parse_yaml(text: str, *, name: str) -> Any:
    """Read YAML 1.2; dates stay text.

    Args:
        text: of at most ``MAX_NODES`` values.
        name: of the file, for messages.

    Raises:
        UserError: name, line and what is wrong: not YAML, a tag, too many levels or values.
    """
    try:
        _check_events(name, text)
        yaml = _yaml()
        yaml.Constructor = _Constructor
        value = yaml.load(StringIO(text))
        if _HALF.search(text) or _HALF_WRITTEN.search(text):
            half = next(filter(None, map(half_character, _strings(value))), None)
            if half:
                raise UserError(f"{name}: half a character ({half}, a lone surrogate)")
        return value
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{name}: {line}not valid YAML: {one_line(str(error.problem), most=200)}") from None
    except YAMLError as error:
        raise UserError(f"{name}: not valid YAML: {one_line(str(error), most=200)}") from None
    except RecursionError:
        raise UserError(f"{name}: nested deeper than {MAX_DEPTH} levels") from None
    except (ValueError, OverflowError) as error:  # Python's own limits for numbers; a UserError is a ValueError, too
        raise error if isinstance(error, UserError) else UserError(f"{name}: a number of thousands of digits") from None


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)


class _Values:
    """Counts a YAML file's values, those that aliases repeat as often as they are repeated."""

    def __init__(self) -> None:
        self.count = 0
        self.opened: list[tuple[str | None, int]] = []  # anchor, and how many values were before it
        self._sizes: dict[str, int] = {}  # by anchor

    def add(self, event: Event) -> None:
        """Count an event.

        Raises:
            KeyError: an alias of what is not complete.
        """
        match event:
            case AliasEvent():
                self.count += self._sizes[event.anchor]
            case ScalarEvent():
                self.count += 1
                self._close(event.anchor, size=1)
            case CollectionStartEvent():
                self.opened.append((event.anchor, self.count))
                self.count += 1
            case CollectionEndEvent():
                anchor, before = self.opened.pop()
                self._close(anchor, size=self.count - before)

    def _close(self, anchor: str | None, *, size: int) -> None:
        if anchor:
            self._sizes[anchor] = size


def _check_events(name: str, text: str) -> None:
    """Refuse what would be large or is no plain data, before any value is made."""
    values = _Values()
    for event in _yaml().parse(StringIO(text)):
        place = f"{name}: line {event.start_mark.line + 1}"
        try:
            values.add(event)
        except KeyError:
            raise UserError(f"{place}: alias *{event.anchor} stands before or inside what it names") from None
        if tag := _own_tag(event):
            raise UserError(f"{place}: tag {tag}: expected plain values without tags")
        if len(values.opened) > MAX_DEPTH:
            raise UserError(f"{place}: nested deeper than {MAX_DEPTH} levels")
        if values.count > MAX_NODES:
            raise UserError(f"{place}: more than {MAX_NODES} values, repeated ones included")


def _own_tag(event: Event) -> str | None:
    tag = event.tag if isinstance(event, ScalarEvent | CollectionStartEvent) else None
    return str(tag) if tag and str(tag) != "tag:yaml.org,2002:str" else None
