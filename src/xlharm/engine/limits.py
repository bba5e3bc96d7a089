"""Limits of a run: a deadline, and a budget of GPU hours."""

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
        text: a time in ISO 8601 (local time unless it names a zone), or a duration from now: `6h30m`.
        now: seconds since the epoch.

    Raises:
        UserError: it is neither, or the time has passed.
    """
    match = _DURATION.fullmatch(text)
    if text and match:
        return now + sum(int(n) * _UNITS[unit] for unit, n in match.groupdict(default="0").items())
    try:
        deadline = datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UserError(f"--deadline {text}: expected a duration (6h30m) or a time (2026-11-25T08:00)") from None
    if deadline <= now:
        raise UserError(f"--deadline {text}: this time has passed")
    return deadline


@dataclass(kw_only=True)
class Budget:
    """The limits of a run, and the GPU time it has used.

    Attributes:
        hours: GPU hours that the workers may use (without GPUs: process hours); None is no limit.
        deadline: when to stop, in seconds of ``time.monotonic``; None is never.
        began: when the run began, by the same clock.
        used: GPU seconds used so far.
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
        """Add the time since the last call, and record that the workers hold ``held`` GPUs from ``now`` on."""
        self.used += self._held * (now - self._now)
        self._held, self._now = held, now

    def fits(self, seconds: float, *, kind: Kind) -> bool:
        """Whether a pack that takes so many seconds should start now.

        A pack of models that is longer than the whole budget starts at any time: the next run continues it from its
        checkpoint, and without that the grid would never be finished.
        """
        left, _ = self._tightest(self._now, self.used)
        whole, _ = self._tightest(self.began, 0.0)
        return seconds <= left or (left > 0 and whole < seconds and kind in MODELS)

    def reached(self) -> bool:
        """Whether a limit is reached."""
        return self._tightest(self._now, self.used)[0] <= 0

    def binding(self) -> str:
        """Return the command-line option whose limit comes first."""
        return self._tightest(self._now, self.used)[1]

    def _tightest(self, now: float, used: float) -> tuple[float, str]:
        """Return the seconds from ``now`` to the first limit, for the GPUs held at present, and the limit's option."""
        to_deadline = math.inf if self.deadline is None else self.deadline - now
        gpu_seconds = math.inf if self.hours is None else self.hours * 3600 - used
        if 0 < gpu_seconds < math.inf:
            gpu_seconds = gpu_seconds / self._held if self._held else math.inf
        return min((to_deadline, "--deadline"), (gpu_seconds, "--max-gpu-hours"))
