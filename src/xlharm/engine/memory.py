"""How much device memory packs need: estimated first, then measured on this run's workers."""

from dataclasses import dataclass, field

from xlharm.plan.build import Plan
from xlharm.plan.memory import BaseSizes, estimate_bytes
from xlharm.plan.packs import Pack, pack_shape


@dataclass
class MemoryNeeds:
    """Bytes of device memory by pack shape and number of slots.

    Attributes:
        plan: the plan that runs.
        sizes: sizes of its base, for the estimate; None estimates nothing.
    """

    plan: Plan
    sizes: BaseSizes | None
    _peaks: dict[tuple[str, int], int] = field(default_factory=dict)
    _floors: dict[tuple[str, int], int] = field(default_factory=dict)

    def bytes_needed(self, pack: Pack) -> int:
        """Return the bytes that a pack needs: the measured peak of its shape, or an estimate; 0 when unknown."""
        shape = self._shape(pack)
        needed = self._peaks.get(shape)
        if needed is None and self.sizes is not None:
            needed = estimate_bytes(self.sizes, self.plan.stages[pack.keys[0]], slots=len(pack.keys))
        return max(needed or 0, self._floors.get(shape, 0))

    def record_peak(self, pack: Pack, peak: int) -> None:
        """Record that a pack finished and used at most ``peak`` bytes."""
        shape = self._shape(pack)
        self._peaks[shape] = max(peak, self._peaks.get(shape, 0))

    def record_overflow(self, pack: Pack, room: int) -> None:
        """Record that a pack did not fit into ``room`` bytes."""
        self._floors[self._shape(pack)] = room + 1

    def _shape(self, pack: Pack) -> tuple[str, int]:
        return pack_shape(self.plan.stages[pack.keys[0]]), len(pack.keys)
