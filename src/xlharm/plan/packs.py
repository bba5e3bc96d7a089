"""Which stages train or answer together: decided from the plan and the pack size alone."""

from dataclasses import dataclass
from functools import cached_property

from xlharm.plan.build import Plan
from xlharm.plan.digest import digest
from xlharm.plan.stage import Kind


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Stages of one shape that share one forward and backward.

    A pack that is partly done already runs again in its full shape with the finished slots empty, so
    what a stage computes does not depend on interruptions.
    """

    kind: Kind
    keys: tuple[str, ...]

    @cached_property
    def id(self) -> str:
        """Name of the pack: a digest of its members."""
        return digest(list(self.keys))[:16]


def packs(plan: Plan, *, size: int) -> tuple[Pack, ...]:
    """Group a plan's stages by shape and depth, then cut to ``size``.

    Raises:
        ValueError: ``size`` is below 1.
    """
    if size < 1:
        raise ValueError("a pack has at least one slot")
    depth: dict[str, int] = {}
    groups: dict[tuple[str, int], list[str]] = {}
    for key, stage in plan.stages.items():
        depth[key] = 1 + max((depth[p] for p in stage.inputs), default=0)
        groups.setdefault((stage.shape, depth[key]), []).append(key)
    found: list[Pack] = []
    for keys in groups.values():
        kind = plan.stages[keys[0]].kind
        starts = range(0, len(keys), size)
        found.extend(Pack(kind=kind, keys=tuple(keys[start : start + size])) for start in starts)
    return tuple(found)


def halves(pack: Pack) -> tuple[Pack, Pack]:
    """Split a pack that did not fit the device's memory.

    Raises:
        ValueError: a pack of one cannot be split.
    """
    if len(pack.keys) < 2:
        raise ValueError("a pack of one stage cannot be split")
    middle = (len(pack.keys) + 1) // 2
    return (Pack(kind=pack.kind, keys=pack.keys[:middle]), Pack(kind=pack.kind, keys=pack.keys[middle:]))
