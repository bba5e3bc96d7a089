"""Data that the engine sends to a worker and receives from it. Importing this module loads no torch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FolderPath
from typing import Literal

from xlharm.config.grid import Dtype, Lora
from xlharm.config.plugins import PluginFile
from xlharm.plan.families import Path
from xlharm.plan.judging import JudgeConfig
from xlharm.plan.sharding import Offload
from xlharm.plan.sources import BaseSource
from xlharm.plan.stage import Kind, Place, Stage


class OutOfMemoryError(RuntimeError):
    """A pack did not fit the device's memory; the engine splits it and tries again."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a plan needs of its base model: a worker checks it before its first pack.

    Attributes:
        lora: the adapters.
        path: how the base model runs.
        longest: tokens of the longest row that any stage may train on.
        answers: whether any stage answers questions.
    """

    lora: Lora
    path: Path
    longest: int
    answers: bool


@dataclass(frozen=True, kw_only=True)
class RunnerConfig:
    """How a worker process runs stages.

    Attributes:
        base: the base model.
        corpus: the corpus folder.
        store_url: folder or URL of the store.
        dtype: number type of the base; adapters and optimiser state are float32.
        device: where to compute; `auto` takes a GPU when there is one.
        place: `device` for a worker with the base; `endpoint` for one that only sends requests to endpoints.
        rank: number of this process in its gang.
        world: number of processes in the gang.
        zero: ZeRO stage; None takes the lowest that is sufficient, see ``zero_stage``.
        offload: what is kept in the machine's memory between uses.
        master: "host:port" of rank 0, when there are several ranks.
        trust_remote_code: whether to run code that comes with the base.
        threads: CPU threads; None takes all cores that the process may use.
        slots: most stages in a pack.
        micro_rows: rows of a slot in one forward pass; None takes a whole batch. It never changes results.
        checkpoint_seconds: seconds between two checkpoints of a long stage.
        judges: the grid's judges by the digest of their identity.
        plugins: the grid's plug-in files; they are executed before the base is loaded.
        sequence_length: the grid's limit on tokens of a row; None for what the base can take.
        needs: what is checked before the first pack; None checks only what each pack needs.
    """

    base: BaseSource
    corpus: FolderPath
    store_url: str
    dtype: Dtype
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
    sequence_length: int | None = None
    needs: Needs | None = None


@dataclass(frozen=True, kw_only=True)
class PackJob:
    """A pack in its full shape.

    Attributes:
        id: the pack's id.
        kind: kind of its stages.
        stages: its stages, one for each slot.
        active: for each slot, whether its stage must be computed; the other slots stay empty.
    """

    id: str
    kind: Kind
    stages: tuple[Stage, ...]
    active: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a pack.

    Attributes:
        pack: the pack's id.
        step: number of finished steps.
        steps: number of all steps.
        tokens: tokens processed so far, all slots together.
        memory: most bytes of device memory that the pack has used so far; 0 on the CPU.
    """

    pack: str
    step: int
    steps: int
    tokens: int
    memory: int = 0


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """The result of one active stage.

    Attributes:
        key: the stage's key.
        ok: True when it is committed, False when it failed for good.
        reason: why it failed, as in ``Failure.reason``.
        message: one line about the failure, for people.
        seconds: time of the whole pack.
        tokens: tokens of this stage.
        peak: most bytes of device memory that its pack used; 0 on the CPU.
        prepared: seconds of the pack for what a worker does once: an engine, checks, compiled code.
        notes: lines for the user, for example about a damaged checkpoint.
    """

    key: str
    ok: bool
    reason: str = ""
    message: str = ""
    seconds: float = 0.0
    tokens: int = 0
    peak: int = 0
    prepared: float = 0.0
    notes: tuple[str, ...] = ()


Report = Callable[[Progress], None]
