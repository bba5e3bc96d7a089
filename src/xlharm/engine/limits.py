"""How long a run may go on: until a moment, or until its workers have used so many hours."""

import math
import re
import time
from dataclasses import dataclass, field
from datetime import datetime

from xlharm.errors import UserError
from xlharm.plan.stage import MODELS, Kind

_DURATION = re.compile(r"(?:(?P<days>\d+)d)?(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+)s)?")
_UNITS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def deadline_at(text: str, *, now: float) -> float:
    """Return the moment that `--deadline` names, in seconds since the epoch.

    Args:
        text: a time as in ISO 8601 (local unless it says otherwise), or a duration from now: `6h30m`.
        now: seconds since the epoch.

    Raises:
        UserError: neither, or it is over.
    """
    match = _DURATION.fullmatch(text)
    if text and match:
        return now + sum(int(n) * _UNITS[unit] for unit, n in match.groupdict(default="0").items())
    try:
        at = datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UserError(f"--deadline {text}: expected a duration (6h30m) or a time (2026-11-25T08:00)") from None
    if at <= now:
        raise UserError(f"--deadline {text}: is over")
    return at


@dataclass(kw_only=True)
class Budget:
    """What a run may use, and what it has used.

    Attributes:
        hours: of GPUs that may be held (on CPUs: of worker processes); None is no limit.
        deadline: when to stop, in seconds of ``time.monotonic``; None is never.
        began: when the run began, of the same clock.
        used: seconds of GPUs held so far.
    """

    hours: float | None = None
    deadline: float | None = None
    began: float = field(default_factory=time.monotonic)
    used: float = 0.0
    _held: float = 0.0
    _now: float = 0.0

    def __post_init__(self) -> None:
        self._now = self.began

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.hours is not None or self.deadline is not None

    def tick(self, *, held: float, now: float) -> None:
        """Take note that ``held`` GPUs are held now."""
        self.used += self._held * (now - self._now)
        self._held, self._now = held, now

    def fits(self, seconds: float, *, kind: Kind) -> bool:
        """Whether a pack that takes so long should begin now.

        One that is longer than all the time there was goes on from its checkpoint in the next run: were it never
        begun, the grid would never end.
        """
        left, _ = self._tightest(self._now, self.used)
        whole, _ = self._tightest(self.began, 0.0)
        return seconds <= left or (left > 0 and whole < seconds and kind in MODELS)

    def reached(self) -> bool:
        """Whether the time is up."""
        return self._tightest(self._now, self.used)[0] <= 0

    def binding(self) -> str:
        """Return the option whose limit comes first."""
        return self._tightest(self._now, self.used)[1]

    def _tightest(self, now: float, used: float) -> tuple[float, str]:
        """Return the seconds from ``now`` to the first limit, with as many GPUs as are held, and its option."""
        until = math.inf if self.deadline is None else self.deadline - now
        ahead = math.inf if self.hours is None else self.hours * 3600 - used
        if 0 < ahead < math.inf:
            ahead = ahead / self._held if self._held else math.inf
        return min((until, "--deadline"), (ahead, "--max-gpu-hours"))
