"""What of a judge decides its verdicts, and what is only needed to reach it."""

from dataclasses import dataclass

from xlharm.config.grid import GridSpec
from xlharm.config.judges import PROMPT_VERSION, Judge, deciding
from xlharm.plan.digest import Json, digest
from xlharm.plan.sources import BaseSource, Sources


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """A judge as a worker needs it: its settings, and where its model lies if it runs there."""

    settings: Judge
    source: BaseSource | None


def identity(judge: Judge, source: BaseSource | None) -> dict[str, Json]:
    """Return what enters the key of a judge's stages: no address, no name of a key, no path."""
    kept: dict[str, Json] = deciding(judge)
    if source is not None:
        kept |= {"base": source.digest, "revision": source.revision}
    return {**kept, "prompt_version": PROMPT_VERSION}


def configs(grid: GridSpec, sources: Sources) -> dict[str, JudgeConfig]:
    """Return a grid's judges by the digest of their identity, as stages carry it."""
    found = {}
    for name, judge in grid.judges.items():
        source = sources.judges.get(name)
        found[digest(identity(judge, source))] = JudgeConfig(settings=judge, source=source)
    return found
