"""Grids and sources for planning tests: no files, no torch."""

from pathlib import Path
from typing import Any

from xlharm.config.load import parse_grid
from xlharm.plan.build import Plan, build
from xlharm.plan.sources import BaseSource, CorpusSource, Sources

LANGUAGES = ("en", "de", "fr", "zh", "ru", "jv", "ur", "ha", "hy")


def grid_of(**fields: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": "g",
        "base": "tiny-base",
        "corpus": "tinyworld",
        "languages": list(LANGUAGES),
        "contaminate": ["de"],
        "unlearn": {"none": []},
        "methods": {"npo": {"objective": "npo"}},
    }
    return {**plain, **fields}


def sources(*, base: str = "base", corpus: dict[str, str] | None = None) -> Sources:
    digests = {lang: f"digest of {lang}" for lang in LANGUAGES} | (corpus or {})
    return Sources(
        base=BaseSource(location="tiny-base", revision=None, digest=base, size=16_000_000),
        corpus=CorpusSource(name="tinyworld", path=Path(), digests=digests),
    )


def plan_of(grid: dict[str, Any]) -> Plan:
    return build(parse_grid(grid, name="grid.yaml"), sources=sources(), dtype="float32")
