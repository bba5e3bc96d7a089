"""A grid's judges as workers need them."""

from dataclasses import dataclass

from xlharm.config.grid import GridSpec
from xlharm.judges.base import Judge
from xlharm.plan.digest import digest
from xlharm.plan.sources import BaseSource, Sources


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """A judge as a worker needs it: its settings, and where its model lies if it runs there."""

    settings: Judge
    source: BaseSource | None


def configs(grid: GridSpec, sources: Sources) -> dict[str, JudgeConfig]:
    """Return a grid's judges by the digest of their identity, as stages carry it."""
    named = [(judge, sources.judges.get(name)) for name, judge in grid.judges.items()]
    return {digest(judge.identity(source)): JudgeConfig(settings=judge, source=source) for judge, source in named}
