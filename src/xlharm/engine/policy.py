"""What to do about a failure: decided by its kind and by how often it occurred before."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from xlharm.engine.trouble import Trouble

CRASHES = 3  # attempts of a pack that crashes its worker
IO_RETRIES = 5
IO_DELAY = 1.0  # seconds before the first retry; doubled each time
MEMORY_RETRIES = 100  # about eight hours
MEMORY_DELAY = 5.0  # seconds before the first retry; doubled each time
LONGEST_DELAY = 300.0
CORRUPTIONS = 3  # recomputations of one damaged stage; more of them point to a faulty disk
PREEMPTIONS = 1000  # a preemption is not the pack's fault, but a limit ends endless repetition

Reason = Literal["out_of_memory", "io", "crashed", "user", "error"]


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Run the pack again, on any worker, after ``delay`` seconds."""

    delay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Split:
    """Replace the pack by its halves."""


@dataclass(frozen=True, kw_only=True)
class Recompute:
    """Quarantine the damaged stage ``key``, compute it again, then run the pack again."""

    key: str


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """The pack's stages have no result in this run; a later run tries them again."""

    reason: Reason


@dataclass(frozen=True, kw_only=True)
class Abort:
    """End the run: the user must act first."""


Decision = Retry | Split | Recompute | GiveUp | Abort


@dataclass
class Policy:
    """The failure policy, with its counts of earlier failures.

    Attributes:
        counts: failures by (kind of trouble, pack id); corruption is counted by (kind, stage key).
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def decide(self, trouble: Trouble, *, pack: str, size: int, larger_device: bool = False) -> Decision:
        """Decide what to do about a pack that failed.

        Args:
            trouble: why it failed.
            pack: the pack's id.
            size: its number of slots.
            larger_device: whether another worker's device has more memory.
        """
        self.counts[trouble.kind, trouble.key or pack] += 1
        count = self.counts[trouble.kind, trouble.key or pack]
        decision: Decision
        match trouble.kind:
            case "preempted" | "node_died" | "stopped":
                decision = Retry() if count <= PREEMPTIONS else GiveUp(reason="crashed")
            case "crashed":
                # A pack that crashes its worker every time may have used up the machine's memory.
                decision = Retry() if count < CRASHES else _smaller(size, reason="crashed")
            case "out_of_memory":
                decision = Retry() if larger_device else _smaller(size, reason="out_of_memory")
            case "io":
                delay = IO_DELAY * 2 ** (count - 1)
                decision = Retry(delay=delay) if count <= IO_RETRIES else GiveUp(reason="io")
            case "memory_taken":
                retry = Retry(delay=memory_delay(count))
                decision = retry if count <= MEMORY_RETRIES else GiveUp(reason="out_of_memory")
            case "corrupt":
                damaged = trouble.key if count <= CORRUPTIONS else None
                decision = Recompute(key=damaged) if damaged else GiveUp(reason="io")
            case "disk_full" | "base":
                decision = Abort()
            case "user" | "error":
                # Split, so that the other stages of the pack still get their results.
                decision = _smaller(size, reason="user" if trouble.kind == "user" else "error")
        return decision

    def inherit(self, pack: str, halves: tuple[str, str]) -> None:
        """Copy a pack's count of crashes, less one, to its halves, so that repeated splitting ends soon."""
        for half in halves:
            self.counts["crashed", half] = max(self.counts["crashed", pack] - 1, 0)


def memory_delay(count: int) -> float:
    """Return the seconds to wait after something else has filled a machine's memory for the ``count``-th time."""
    return float(min(MEMORY_DELAY * 2 ** min(count - 1, 10), LONGEST_DELAY))


def _smaller(size: int, *, reason: Reason) -> Decision:
    return Split() if size > 1 else GiveUp(reason=reason)
