"""What the engine hands to a worker and gets back. Plain data: importing this loads no torch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from xlharm.config.plugins import PluginFile
from xlharm.plan.judging import JudgeConfig
from xlharm.plan.sharding import Offload
from xlharm.plan.sources import BaseSource
from xlharm.plan.stage import Kind, Place, Stage


class OutOfMemoryError(RuntimeError):
    """A pack did not fit the device; it is split and tried again."""


@dataclass(frozen=True, kw_only=True)
class RunnerConfig:
    """How a worker process runs stages.

    Attributes:
        base: the base model.
        corpus: the corpus folder.
        store_url: the store.
        dtype: of the base; adapters and optimiser are float32.
        device: `auto` takes a GPU when there is one.
        place: a worker that only asks endpoints loads no base.
        rank: this process in its gang.
        world: ranks of the gang.
        zero: ZeRO stage; None takes the lowest that serves, see ``zero_stage``.
        offload: what lies in the machine's memory between uses.
        master: "host:port" of rank 0, when there are several ranks.
        trust_remote_code: run code that comes with the base.
        threads: that it computes with on the CPU; None takes all that it may use.
        slots: most stages a pack has.
        micro_rows: rows of a slot in one forward; None takes a whole batch. Never changes results.
        checkpoint_seconds: how often a long stage saves its state.
        judges: the grid's judges by the digest of their identity.
        plugins: the grid's plug-in files, run before the base is loaded.
    """

    base: BaseSource
    corpus: Path
    store_url: str
    dtype: Literal["float32", "bfloat16"]
    device: Literal["auto", "cpu", "cuda"] = "auto"
    place: Place = "device"
    rank: int = 0
    world: int = 1
    zero: int | None = None
    offload: Offload | None = None
    master: str | None = None
    trust_remote_code: bool = False
    threads: int | None = None
    slots: int = 8
    micro_rows: int | None = None
    checkpoint_seconds: float = 60.0
    judges: dict[str, JudgeConfig] = field(default_factory=dict)
    plugins: tuple[PluginFile, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PackJob:
    """A pack in its full shape; slots that are not active are finished already and stay empty."""

    id: str
    kind: Kind
    stages: tuple[Stage, ...]
    active: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a pack is."""

    pack: str
    step: int
    steps: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What came of one active stage: committed (ok), or failed for good with its reason.

    Attributes:
        peak: bytes of device memory that its pack took at most; 0 where there is no device.
    """

    key: str
    ok: bool
    reason: str = ""
    message: str = ""
    seconds: float = 0.0
    tokens: int = 0
    peak: int = 0


Report = Callable[[Progress], None]
