"""Numbers written back into a grid file: only they change, and a line of comment says where they are from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from xlharm.config.load import load_grid
from xlharm.config.search import Number, Point, numbers_of, written
from xlharm.config.unlearning import Unlearning
from xlharm.errors import UserError

MARK = "# xlharm tune:"
_SCALAR = re.compile(r"[^\s,{}\[\]#&*!]+")


def unwritable(path: Path, *, method: Unlearning, name: str) -> str:
    """Say why numbers of a method would mean another one in the grid file; "" when they would not.

    An override may say more than a number, and that is not written.
    """
    there = load_grid(path).methods.get(name)
    others = type(method).model_fields.keys() - numbers_of(method).keys()
    differ = sorted(field for field in others if getattr(there, field, None) != getattr(method, field))
    return f"{path}: methods.{name}.{differ[0]}: differs from -s; put it into the file first" if differ else ""


def differing(path: Path, *, method: Unlearning, name: str) -> Point:
    """Return the numbers in which a method differs from a grid file's."""
    there = load_grid(path).methods.get(name)
    mine = {field: getattr(method, field) for field in numbers_of(method)}
    return {field: value for field, value in mine.items() if getattr(there, field, None) != value}


def written_back(text: str, *, method: str, values: Mapping[str, Number], comment: str, name: str) -> str:
    """Return a grid file's text with other numbers in one method; all else stays as it is, byte by byte.

    Args:
        text: the file.
        method: the method's name in the grid.
        values: numbers by field.
        comment: goes above the method, in the place of an earlier one of its kind.
        name: the file's, for messages.

    Raises:
        UserError: the file is such that more than these numbers would change (aliases, say).
    """
    lines = [*text.splitlines(keepends=True), ""]
    if len(lines) > 1 and not lines[-2].endswith("\n"):
        lines[-2] += "\n"
    entry = _entry(text, method, name=name)
    edits = [_edit(lines, entry, field, written(value)) for field, value in values.items()]
    for line, begin, end, new in sorted(edits, reverse=True):
        lines[line] = lines[line][:begin] + new + lines[line][end:]
    at = YAML().load(text)["methods"].lc.key(method)[0]
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    if at and lines[at - 1].strip().startswith(MARK):
        at -= 1
        del lines[at]
    lines.insert(at, f"{indent}{MARK} {' '.join(comment.split())}\n")
    changed = "".join(lines)
    if not _only_these(text, changed, method=method, values=values):
        told = ", ".join(f"{field}: {written(value)}" for field, value in values.items())
        raise UserError(f"{name}: methods.{method}: cannot be changed without changing more; set by hand: {told}")
    return changed


def _entry(text: str, method: str, *, name: str) -> CommentedMap:
    loaded: Any = YAML().load(text)
    entry = loaded.get("methods", {}).get(method) if isinstance(loaded, CommentedMap) else None
    if not isinstance(entry, CommentedMap):
        raise UserError(f"{name}: methods.{method}: is not in the file as a mapping; set its numbers by hand")
    return entry


def _edit(lines: list[str], entry: CommentedMap, field: str, new: str) -> tuple[int, int, int, str]:
    """Return (line, begin, end, text): what replaces what."""
    own = entry.lc.data or {}  # keys written in the entry itself, not merged into it by `<<`
    if field in own:
        line, begin = entry.lc.value(field)
        found = _SCALAR.match(lines[line], begin)
        return line, begin, found.end() if found else begin, new
    anchor = "objective" if "objective" in own else next(iter(own))
    line, begin = entry.lc.value(anchor)
    found = _SCALAR.match(lines[line], begin)
    if entry.fa.flow_style():
        end = found.end() if found else begin
        return line, end, end, f", {field}: {new}"
    return line + 1, 0, 0, f"{' ' * entry.lc.key(anchor)[1]}{field}: {new}\n"


def _only_these(before: str, after: str, *, method: str, values: Mapping[str, Number]) -> bool:
    """Whether a file differs from an earlier one in these numbers alone."""
    safe = YAML(typ="safe", pure=True)
    try:
        wanted, got = safe.load(before), safe.load(after)
    except YAMLError:
        return False
    wanted["methods"] = {**wanted["methods"], method: {**wanted["methods"][method], **values}}
    return bool(got == wanted)
