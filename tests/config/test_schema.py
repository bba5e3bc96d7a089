"""The schema that editors get says what the classes say, and every shipped grid file follows it."""

import copy
import json
import os
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from jsonschema import Draft202012Validator

from tests.plan.worlds import grid_of
from xlharm.config import schema
from xlharm.config.grid import GridSpec
from xlharm.config.load import parse_grid
from xlharm.errors import UserError
from xlharm.judges import JUDGES
from xlharm.methods import METHODS
from xlharm.plain_files import read_yaml
from xlharm.probes import PROBES

ROOT = Path(__file__).parents[2]
GRIDS = sorted((ROOT / "grid").rglob("*.yaml"))
BEGIN, END = "<!-- fields -->\n", "<!-- end of fields -->"


@pytest.fixture(autouse=True)
def _no_plugins() -> Any:
    """Leave out classes that other tests in this process have registered."""
    with (
        mock.patch.dict(METHODS._from_files, clear=True),
        mock.patch.dict(PROBES._from_files, clear=True),
        mock.patch.dict(JUDGES._from_files, clear=True),
    ):
        yield


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads((ROOT / "grid" / schema.FILE).read_text("utf-8")))


def bare(part: Any) -> Any:
    """Return a schema without what the editor's one adds: descriptions and closed maps; and without titles."""
    if isinstance(part, list):
        return [bare(entry) for entry in part]
    if not isinstance(part, dict):
        return part
    closed = "patternProperties" in part
    left_out = {"description"} | ({"additionalProperties"} if closed else set())
    return {
        name: {field: bare(value) for field, value in entry.items()} if name in {"properties", "$defs"} else bare(entry)
        for name, entry in part.items()
        if name not in left_out and not (name == "title" and isinstance(entry, str))
    }


def test_the_schema_is_pydantics() -> None:
    assert bare(schema.grid_schema()) == bare(GridSpec.model_json_schema())


def test_the_shipped_files_are_those_of_this_version() -> None:
    """After a change of fields run this file with XLHARM_GOLDEN=write."""
    readme = ROOT / "grid/README.md"
    before, _, rest = readme.read_text("utf-8").partition(BEGIN)
    table, _, after = rest.partition(END)
    made = schema.fields_table(docs="../docs")
    if os.environ.get("XLHARM_GOLDEN") == "write":
        schema.write_schema(ROOT / "grid")
        readme.write_text(f"{before}{BEGIN}{made}{END}{after}", "utf-8")
        return
    assert (ROOT / "grid" / schema.FILE).read_text("utf-8") == schema.schema_text()
    assert table == made


def test_the_table_names_every_field() -> None:
    named = {line.split("`")[1] for line in schema.fields_table(docs="x").splitlines()[2:]}
    assert GridSpec.model_fields.keys() <= named
    assert {"prompt.template", "lora.rank", "stages.sft.roles", "findings.margin"} <= named


def test_every_field_is_described() -> None:
    made = schema.grid_schema()
    parts = {"grid": made, **made["$defs"]}
    tags = {"objective", "kind"}
    missing = [
        f"{name}.{field}"
        for name, part in parts.items()
        for field, info in part.get("properties", {}).items()
        if not info.get("description") and field not in tags
    ]
    assert missing == []


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_shipped_grid_names_the_schema_and_follows_it(path: Path) -> None:
    first = path.read_text("utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("=")[2]).resolve() == (ROOT / "grid" / schema.FILE)
    assert [error.message for error in validator().iter_errors(read_yaml(path))] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": 3},
        {"seeds": 0},
        {"seeds": 10_001},
        {"seeds": [1, 2]},
        {"lora": {"target_modules": "all-linear"}},
        {"lora": {"target_modules": "q_proj"}},
        {"lora": {"target_modules": ["q_proj"]}},
        {"prompt": "chat"},
        {"prompt": "text"},
        {"stages": {"sft": None}},
        {"stages": {"sfd": None}},
        {"langages": ["en"]},
        {"languages": []},
        {"languages": ["english"]},
        {"unlearn": {"a name with spaces": ["en"]}},
        {"methods": {"npo": {"objective": "npo", "beta": 0}}},
        {"methods": {"npo": {"objective": "npo", "gamma": 1}}},
        {"methods": {"npo": {"objective": "nope"}}},
        {"methods": {"npo": {}}},
        {"findings": {"margin": 101}},
        {"probes": {"again": {"kind": "relearn", "items": [1, 5]}}},
        {"exclude": [{"cell": "en"}]},
    ],
    ids=str,
)
def test_schema_and_loader_agree(changes: dict[str, Any]) -> None:
    data = {**grid_of(), **copy.deepcopy(changes)}
    try:
        parse_grid(data, name="grid.yaml")
    except UserError:
        loads = False
    else:
        loads = True
    assert validator().is_valid(data) == loads
