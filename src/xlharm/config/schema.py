"""The JSON schema of grid files, for editors, and the table of their fields: both made from the classes themselves."""

import inspect
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from xlharm.config.grid import GridSpec
from xlharm.judges import JUDGES
from xlharm.methods import METHODS
from xlharm.probes import PROBES

FILE = "grid.schema.json"
"""The schema's name beside grid files."""
REFERENCE = f"# yaml-language-server: $schema={FILE}\n"
"""First line of a grid file: editors that know YAML check and complete the file by the schema beside it."""


def grid_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of grid files: what ``GridSpec`` accepts, each field with its description.

    Methods, probes and judges of installed plug-ins are in it.
    """
    return GridSpec.model_json_schema(schema_generator=_Described)


def schema_text() -> str:
    """Return the schema as a file holds it."""
    return _text(*(kind for room in (METHODS, PROBES, JUDGES) for kind in room.all().values()))


@cache
def _text(*_kinds: type) -> str:
    """Make the text once for each set of known methods, probes and judges: it takes a fifth of a second."""
    return json.dumps(grid_schema(), indent=1, ensure_ascii=False) + "\n"


def write_schema(folder: Path) -> None:
    """Write the schema to a folder of grid files, in place of an older one."""
    (folder / FILE).write_text(schema_text(), encoding="utf-8")


class _Described(GenerateJsonSchema):
    """Takes the descriptions of fields from the section ``Attributes`` of their class, and closes maps of names."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        if "description" in made:
            made["description"] = _flat(made["description"].split("\n\nAttributes:")[0])
        texts = attributes(schema["cls"])
        for name, field in made.get("properties", {}).items():
            if name in texts:
                field.setdefault("description", texts[name])
        return made

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - a title would repeat the name
        return False

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        return {**made, "additionalProperties": False} if "patternProperties" in made else made


def attributes(kind: type[BaseModel]) -> dict[str, str]:
    """Return what the section ``Attributes`` of a class's and its bases' docstrings says of each name."""
    texts: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        _, _, section = inspect.cleandoc(parent.__doc__ or "").partition("\nAttributes:\n")
        for entry in re.split(r"\n(?=    \w)", section.split("\n\n")[0]):
            name, colon, text = entry.strip().partition(":")
            if colon and name.isidentifier():
                texts[name] = _flat(text)
    return texts


def _flat(text: str) -> str:
    return re.sub(r"\bNone\b", "null", " ".join(text.split()).replace("``", "`"))


# -- the table ---------------------------------------------------------------------------------------------------


def fields_table(*, docs: str) -> str:
    """Return a Markdown table of the fields of grid files; what methods, probes and judges hold is documented apart.

    Args:
        docs: the documentation's folder, as the page with the table sees it.
    """
    rows = [f"| `{name}` | {_default(info)} | {_linked(text, docs)} |" for name, info, text in _fields()]
    return "\n".join(["| field | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _fields() -> Iterator[tuple[str, dict[str, Any], str]]:
    schema = grid_schema()
    yield from _fields_of(schema, schema, prefix="")


def _fields_of(
    part: dict[str, Any], schema: dict[str, Any], *, prefix: str
) -> Iterator[tuple[str, dict[str, Any], str]]:
    needed = part.get("required", ())
    for name, info in part["properties"].items():
        inner = _model_in(info, schema)
        text = info.get("description") or inner.get("description", "")
        yield prefix + name, info if name not in needed else {}, text
        if "properties" in inner:
            yield from _fields_of(inner, schema, prefix=f"{prefix}{name}.")


def _model_in(info: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return the definition of the only model that a field holds; empty for another field."""
    references = [one["$ref"] for one in (info, *info.get("anyOf", ())) if "$ref" in one]
    return dict(schema["$defs"][references[0].rpartition("/")[2]]) if len(references) == 1 else {}


def _default(info: dict[str, Any]) -> str:
    match info:
        case {"default": {**values}} if values:
            return "see below"
        case {"default": {} | [] | None}:
            return "none"
        case {"default": value}:
            shown = json.dumps(value, ensure_ascii=False).strip('"')
            return "all" if isinstance(value, list) and len(value) > 8 else f"`{shown}`"
    return ""


def _linked(text: str, docs: str) -> str:
    linked = re.sub(r"\bdocs/(\w[\w-]*\.md)(#[\w-]+)?", rf"[\g<0>]({docs}/\1\2)", text)
    return linked.replace("|", "\\|").removesuffix(".")
