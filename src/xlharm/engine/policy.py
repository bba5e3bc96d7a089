"""What to do about a failure: decided by its kind and by what was tried before."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from xlharm.engine.trouble import Trouble

CRASHES = 3  # attempts that a pack may cost us by crashing its worker
IO_RETRIES = 5
IO_DELAY = 1.0  # seconds before the first retry; doubled each time
CORRUPTIONS = 3  # recomputations of one stage, before the disk must be suspected
PREEMPTIONS = 1000  # free, but not for ever

Reason = Literal["out_of_memory", "io", "crashed", "user", "error"]


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Run the pack again, wherever there is room, after ``delay`` seconds."""

    delay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Split:
    """Run the pack's halves."""


@dataclass(frozen=True, kw_only=True)
class Recompute:
    """Quarantine a damaged stage, compute it again, then the pack."""

    key: str


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """The pack's stages have no result in this run; a later run tries them again."""

    reason: Reason


@dataclass(frozen=True, kw_only=True)
class Abort:
    """Nothing can go on: the user must act."""


Decision = Retry | Split | Recompute | GiveUp | Abort


@dataclass
class Policy:
    """The failure policy, with its memory of what was tried.

    Attributes:
        counts: how often each kind of trouble met each pack (or, for corruption, each stage).
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def decide(self, trouble: Trouble, *, pack: str, size: int, roomier: bool = False) -> Decision:
        """Say what to do about a pack that came back in trouble.

        Args:
            trouble: what happened.
            pack: the pack's id.
            size: its number of slots.
            roomier: whether another worker's device has more memory.
        """
        self.counts[trouble.kind, trouble.key or pack] += 1
        count = self.counts[trouble.kind, trouble.key or pack]
        decision: Decision
        match trouble.kind:
            case "preempted" | "node_died" | "stopped":
                decision = Retry() if count <= PREEMPTIONS else GiveUp(reason="crashed")
            case "crashed":
                # a pack that kills its worker again and again may have run the machine out of memory
                decision = Retry() if count < CRASHES else _smaller(size, reason="crashed")
            case "out_of_memory":
                decision = Retry() if roomier else _smaller(size, reason="out_of_memory")
            case "io":
                wait = IO_DELAY * 2 ** (count - 1)
                decision = Retry(delay=wait) if count <= IO_RETRIES else GiveUp(reason="io")
            case "corrupt":
                known = trouble.key if count <= CORRUPTIONS else None
                decision = Recompute(key=known) if known else GiveUp(reason="io")
            case "disk_full":
                decision = Abort()
            case "user" | "error":
                # one stage's mistake must not cost its neighbours their results
                decision = _smaller(size, reason="user" if trouble.kind == "user" else "error")
        return decision

    def inherit(self, pack: str, halves: tuple[str, str]) -> None:
        """Count a pack's crashes against its halves, so that splitting ends soon."""
        for half in halves:
            self.counts["crashed", half] = max(self.counts["crashed", pack] - 1, 0)


def _smaller(size: int, *, reason: Reason) -> Decision:
    return Split() if size > 1 else GiveUp(reason=reason)
