"""pyproject.toml declares what the package imports, and nothing that it does not use."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow  # both look through all installed distributions
NEEDED_UNSEEN = {
    "sentencepiece": "transformers reads M2M-100's tokenizer with it",
}
"""Dependencies that no file of the package imports."""
PART_OF = {"pydantic_core": "pydantic"}
"""Modules of another distribution that a declared one pins to a single version, and whose use it documents."""


def imported() -> set[str]:
    """Return the top names of all modules that the package imports, wherever the import stands."""
    names: set[str] = set()
    for path in (ROOT / "src" / "xlharm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    names = {PART_OF.get(name, name) for name in names}
    return names - set(sys.stdlib_module_names) - {"xlharm"}


def declared(*extras: str) -> set[str]:
    """Return the names of the distributions that pyproject.toml asks for, with those of some extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for e in extras for line in project["optional-dependencies"][e])]
    return {canonical(re.split(r"[\[<>=;\s]", line)[0]) for line in lines}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def installed() -> dict[str, set[str]]:
    """Return the distributions that bring each module; looking through all of them takes a while."""
    return {m: {canonical(n) for n in names} for m, names in importlib.metadata.packages_distributions().items()}


def distributions(module: str) -> set[str]:
    return installed().get(module, {canonical(module)})


def test_what_is_imported_is_declared() -> None:
    known = declared("dashboards", "gguf", "paper", "s3", "tune")
    assert {module for module in imported() if not distributions(module) & known} == set()


def test_what_is_declared_is_imported() -> None:
    used = {name for module in imported() for name in distributions(module)}
    assert declared() - used == set(NEEDED_UNSEEN)
