"""Grid files and overrides in, a validated ``GridSpec`` out; every mistake is one clear line."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from xlharm.config.grid import GridSpec
from xlharm.config.kinds import Kinds
from xlharm.config.plugins import find_plugins, load_plugins, read_plugin
from xlharm.errors import UserError, nearest
from xlharm.judges import JUDGES
from xlharm.methods import METHODS
from xlharm.plain_files import expanded, parse_yaml, read_yaml
from xlharm.probes import PROBES
from xlharm.visible import one_line


def load_grid(path: Path, *, overrides: Iterable[str] = ()) -> GridSpec:
    """Read a grid file (YAML 1.2) and apply ``key.sub=value`` overrides.

    Raises:
        UserError: unreadable file, unknown key, wrong value; the message names file and field.
    """
    data = _read(path)
    for override in overrides:
        data = _override(data, override)
    if isinstance(data, dict) and "plugins" in data:
        data = {**data, "plugins": find_plugins(data["plugins"], root=path.parent, grid=str(path))}
    return parse_grid(data, name=str(path))


def parse_grid(data: object, *, name: str) -> GridSpec:
    """Validate plain data as a grid; ``name`` stands in messages for the file. Plug-in files are run.

    Raises:
        UserError: one line a mistake's first finding.
    """
    if not isinstance(data, Mapping):
        raise UserError(f"{name}: expected a mapping of grid fields, found {type(data).__name__}")
    named = find_plugins(data.get("plugins", ()), root=Path(), grid=name)
    load_plugins(map(read_plugin, named))  # before what uses their classes is validated
    try:
        return GridSpec.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{name}: {_first_line(error)}") from None


def _read(path: Path) -> dict[str, Any]:
    path = expanded(str(path))
    if not os.path.lexists(path):
        raise UserError(f"{path}: no such grid file{_beside(path)}")
    return read_yaml(path) or {}


def _beside(path: Path) -> str:
    folder = path.parent
    return nearest(path.name, (p.name for p in folder.glob("*.y*ml"))) if folder.is_dir() else ""


def _override(data: Any, override: str) -> dict[str, Any]:
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise UserError(f"-s {_short(override)}: expected key=value, for example -s stages.contaminate.steps=30")
    return _set(data, path.split("."), parse_yaml(value, name=f"-s {_short(path)}"), shown=_short(path))


def _set(data: Any, keys: list[str], value: Any, *, shown: str) -> dict[str, Any]:
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise UserError(f"-s {shown}: {keys[0]!r} is below a value, not a mapping")
    head, *rest = keys
    return {**data, head: _set(data.get(head), rest, value, shown=shown) if rest else value}


def _first_line(error: ValidationError) -> str:
    found = error.errors(include_url=False)
    first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
    location, model = _walk(first["loc"])
    where = ".".join(str(part) for part in location)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    message = first["msg"].removeprefix("Value error, ")
    match first["type"]:
        case "extra_forbidden":
            fields = list(model.model_fields) if model else []
            # a key that looks like one of pydantic's own names, such as `a[`, is left out of the location
            key = _short(str(first["loc"][-1]))
            message = f"unknown key{nearest(key, fields)} (known: {', '.join(fields)})"
            where = where or key
        case "union_tag_not_found":
            tag, known = _choices(location)
            where, message = f"{where}.{tag}", f"missing; one of {', '.join(known)}"
        case "union_tag_invalid":
            tag, known = _choices(location)
            found_tag = str(first["ctx"]["tag"])
            where = f"{where}.{tag}"
            message = f"no such {tag}: {found_tag!r}{nearest(found_tag, known)} ({', '.join(known)})"
        case "missing" | "value_error":
            pass
        case _:
            message = f"{message[:1].lower()}{message[1:]}, found {_short(repr(first['input']))}"
    return (f"{_short(where)}: {message}" if where else message) + more


def _short(text: str) -> str:
    """Shorten what a file or an argument says, for a message of one line."""
    return one_line(text, most=120)


_Model = type[BaseModel]


_ROOMS: dict[str, Kinds[Any]] = {"methods": METHODS, "probes": PROBES, "judges": JUDGES}


def _choices(location: list[Any]) -> tuple[str, list[str]]:
    """Return the discriminator of the union at a location, and its values."""
    name, models = _union(str(location[0]))
    return name, list(models)


def _union(field: str) -> tuple[str, dict[str, _Model]]:
    """Return the discriminator of a field's union, and its classes by the discriminator's value; empty for others."""
    room = _ROOMS.get(field)
    return (room.tag, dict(room.all())) if room else ("", {})


def _walk(loc: Iterable[Any]) -> tuple[list[Any], _Model | None]:
    """Return a location as the file has it, without pydantic's names of union members, and the model it is in."""
    model: _Model | None = GridSpec
    at: Any = GridSpec
    inside: _Model | None = None
    location: list[Any] = []
    for part in loc:
        models = _union(str(location[0]))[1] if len(location) == 2 else {}
        if inside is None and part in models:
            inside = at = model = models[part]
            continue
        if isinstance(part, str) and ("[" in part or part in {"str", "int", "tuple"}):
            continue
        location.append(part)
        model = at if isinstance(at, type) and issubclass(at, BaseModel) else model
        field = model.model_fields.get(part) if model and isinstance(part, str) else None
        if field is not None:
            inner = [field.annotation, *get_args(field.annotation)]
            at = next((c for c in inner if isinstance(c, type) and issubclass(c, BaseModel)), at)
    return location, model
