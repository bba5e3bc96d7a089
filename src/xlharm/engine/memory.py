"""What packs need of a device's memory: estimated, then as measured on this run's workers."""

from dataclasses import dataclass, field

from xlharm.plan.build import Plan
from xlharm.plan.memory import Anatomy, estimate_bytes
from xlharm.plan.packs import Pack, shape_of


@dataclass
class Memory:
    """Needs of packs; those of one shape and as many slots need the same.

    Attributes:
        plan: what runs.
        anatomy: of its base; None estimates nothing.
    """

    plan: Plan
    anatomy: Anatomy | None
    _peaks: dict[tuple[str, int], int] = field(default_factory=dict)
    _floors: dict[tuple[str, int], int] = field(default_factory=dict)

    def need(self, pack: Pack) -> int:
        """Return the bytes that a pack needs, as far as is known."""
        like = self._like(pack)
        found = self._peaks.get(like)
        if found is None and self.anatomy is not None:
            found = estimate_bytes(self.anatomy, self.plan.stages[pack.keys[0]], slots=len(pack.keys))
        return max(found or 0, self._floors.get(like, 0))

    def took(self, pack: Pack, peak: int) -> None:
        """A pack went through and took ``peak`` bytes at most."""
        like = self._like(pack)
        self._peaks[like] = max(peak, self._peaks.get(like, 0))

    def outgrew(self, pack: Pack, room: int) -> None:
        """A pack did not fit into ``room`` bytes."""
        self._floors[self._like(pack)] = room + 1

    def _like(self, pack: Pack) -> tuple[str, int]:
        return shape_of(self.plan.stages[pack.keys[0]]), len(pack.keys)
