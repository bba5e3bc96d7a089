"""A grid's judges as workers need them."""

from dataclasses import dataclass
from typing import Any

from xlharm.config.grid import GridSpec
from xlharm.config.training import key_settings
from xlharm.plan.digest import digest
from xlharm.plan.sources import BaseSource, Sources


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """A judge as a worker needs it.

    Attributes:
        settings: plain values of all its settings: a worker gets them before it has loaded a plug-in's class.
        source: where its model lies, if it has one.
    """

    settings: dict[str, Any]
    source: BaseSource | None


def configs(grid: GridSpec, sources: Sources) -> dict[str, JudgeConfig]:
    """Return a grid's judges by the digest of their identity, as stages carry it."""
    named = [(judge, sources.judges.get(name)) for name, judge in grid.judges.items()]
    return {digest(j.identity(source)): JudgeConfig(settings=key_settings(j), source=source) for j, source in named}
