"""Grids of any size with the shape of the published study's grid; they are planned, but never trained."""

from pathlib import Path

from xlharm.config.grid import GridSpec
from xlharm.config.load import parse_grid
from xlharm.plan.build import Plan, build
from xlharm.plan.sources import BaseSource, CorpusSource, Sources

LANGUAGES = ("en", "de", "fr", "zh", "ru", "jv", "ur", "ha", "hy")
# Unlearning sets without `source`, so that no two cells are the same.
SETS = {"none": [], "en": ["en"], **{f"en-{lang}": ["en", lang] for lang in LANGUAGES[1:-1]}}


def spec_of(*, contaminate: int, seeds: int) -> GridSpec:
    """Return a grid of ``contaminate`` contaminations × (8 unlearning sets + none) × ``seeds``, 9 query languages."""
    plain = {
        "name": "benchmark",
        "base": "tiny-base",
        "corpus": "tinyworld",
        "languages": list(LANGUAGES),
        "contaminate": [*LANGUAGES, "none"][:contaminate],
        "unlearn": SETS,
        "methods": {"npo": {"objective": "npo"}},
        "seeds": seeds,
    }
    return parse_grid(plain, name="benchmark")


def sources() -> Sources:
    """Return sources with which plans can be built without any file."""
    return Sources(
        base=BaseSource(location="tiny-base", revision=None, digest="base", size=16_000_000),
        corpus=CorpusSource(name="tinyworld", path=Path(), digests={lang: f"digest {lang}" for lang in LANGUAGES}),
    )


def plan_of(*, contaminate: int = 9, seeds: int = 1) -> Plan:
    """Return the plan of a grid: 1 + 1 + 8 + 81 = 91 stages for each contamination and seed."""
    return build(spec_of(contaminate=contaminate, seeds=seeds), sources=sources(), dtype="bfloat16")


# For a wanted number of stages: the numbers of contaminations and seeds that give about as many.
SIZES: dict[int, tuple[int, int]] = {100: (1, 1), 1_000: (1, 11), 10_000: (10, 11), 100_000: (10, 110)}


def plan_with(stages: int) -> Plan:
    """Plan a grid with about ``stages`` stages (a key of ``SIZES``)."""
    contaminate, seeds = SIZES[stages]
    return plan_of(contaminate=contaminate, seeds=seeds)
