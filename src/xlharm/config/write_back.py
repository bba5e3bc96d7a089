"""Writes numbers into a grid file. Nothing else changes, except for a comment line with the origin of the numbers."""

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
    """Return why a method's numbers cannot be written into the grid file, or "" if they can.

    They cannot if an override (-s) changed a field that is not a number: only numbers are written, so the file would
    describe another method.
    """
    current = load_grid(path).methods.get(name)
    others = type(method).model_fields.keys() - numbers_of(method).keys()
    differ = sorted(field for field in others if getattr(current, field, None) != getattr(method, field))
    return f"{path}: methods.{name}.{differ[0]}: differs from -s; write it into the file first" if differ else ""


def differing(path: Path, *, method: Unlearning, name: str) -> Point:
    """Return the numbers of a method that differ from those in the grid file."""
    current = load_grid(path).methods.get(name)
    numbers = {field: getattr(method, field) for field in numbers_of(method)}
    return {field: value for field, value in numbers.items() if getattr(current, field, None) != value}


def written_back(text: str, *, method: str, values: Mapping[str, Number], comment: str, name: str) -> str:
    """Return a grid file's text with other numbers in one method; every other byte stays the same.

    Args:
        text: the text of the file.
        method: name of the method in the grid.
        values: numbers by field.
        comment: a comment line for above the method; it replaces an earlier one of `xlharm tune`.
        name: name of the file, for messages.

    Raises:
        UserError: more than these numbers would change, for example because the file uses YAML aliases.
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
        numbers = ", ".join(f"{field}: {written(value)}" for field, value in values.items())
        raise UserError(f"{name}: methods.{method}: cannot be changed without changing more; set by hand: {numbers}")
    return changed


def _entry(text: str, method: str, *, name: str) -> CommentedMap:
    loaded: Any = YAML().load(text)
    entry = loaded.get("methods", {}).get(method) if isinstance(loaded, CommentedMap) else None
    if not isinstance(entry, CommentedMap):
        raise UserError(f"{name}: methods.{method}: is not in the file as a mapping; set its numbers by hand")
    return entry


def _edit(lines: list[str], entry: CommentedMap, field: str, new: str) -> tuple[int, int, int, str]:
    """Return an edit (line, begin, end, text): the text that replaces characters begin to end of a line."""
    own = entry.lc.data or {}  # keys written in the entry itself, not merged into it by `<<`
    if field in own:
        line, begin = entry.lc.value(field)
        scalar = _SCALAR.match(lines[line], begin)
        return line, begin, scalar.end() if scalar else begin, new
    anchor = "objective" if "objective" in own else next(iter(own))
    line, begin = entry.lc.value(anchor)
    scalar = _SCALAR.match(lines[line], begin)
    if entry.fa.flow_style():
        end = scalar.end() if scalar else begin
        return line, end, end, f", {field}: {new}"
    return line + 1, 0, 0, f"{' ' * entry.lc.key(anchor)[1]}{field}: {new}\n"


def _only_these(before: str, after: str, *, method: str, values: Mapping[str, Number]) -> bool:
    """Whether two texts of a file differ in these numbers alone."""
    safe = YAML(typ="safe", pure=True)
    try:
        wanted, got = safe.load(before), safe.load(after)
    except YAMLError:
        return False
    wanted["methods"] = {**wanted["methods"], method: {**wanted["methods"][method], **values}}
    return bool(got == wanted)
