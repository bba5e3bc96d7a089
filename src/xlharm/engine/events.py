"""Events of packs and stages while a grid runs: the only input of the scheduler."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispatched:
    """A pack was handed to a worker."""

    pack: str
    worker: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A stage is in the store; ``worker`` has its adapter in memory, None when no worker of this run computed it."""

    key: str
    worker: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A stage failed: it gets no result in this run, and its descendants cannot run."""

    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A worker has ended a pack; the pack's unfinished stages wait to be dispatched again."""

    pack: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLost:
    """A worker is lost: its pack waits to be dispatched again, and the adapters in its memory are gone."""

    worker: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PackSplit:
    """A pack is replaced by its halves."""

    pack: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Corrupted:
    """A finished stage is damaged and must be computed again."""

    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Deferred:
    """A pack must not be dispatched for now: it waits before a retry, or another driver computes its stages."""

    pack: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumed:
    """A deferred pack may be dispatched again."""

    pack: str


Event = Dispatched | Finished | Failed | Ended | WorkerLost | PackSplit | Corrupted | Deferred | Resumed
