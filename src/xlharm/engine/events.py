"""What happens to packs and stages while a grid runs. The scheduler's whole input."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispatched:
    """A pack was handed to a worker."""

    pack: str
    worker: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A stage is in the store; ``worker`` is where its adapter is warm, when it is known."""

    key: str
    worker: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A stage has no result in this run; its descendants cannot run."""

    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A pack's worker is done with it; what it did not finish waits again."""

    pack: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLost:
    """A worker is gone; the pack it had waits again and its warm adapters are no more."""

    worker: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PackSplit:
    """A pack did not fit and is replaced by its halves."""

    pack: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Corrupted:
    """A finished stage turned out damaged: it is missing again."""

    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Deferred:
    """A pack must not be dispatched for now (a back-off, or another driver has its stages)."""

    pack: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumed:
    """A deferred pack may be dispatched again."""

    pack: str


Event = Dispatched | Finished | Failed | Ended | WorkerLost | PackSplit | Corrupted | Deferred | Resumed
