"""Options of a run, and the configuration of its workers. Nothing here changes results."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from xlharm.config.grid import Lora
from xlharm.config.plugins import read_plugin
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.plan.judging import configs
from xlharm.plan.sharding import Offload, zero_stage
from xlharm.stages.job import Needs, RunnerConfig
from xlharm.store.store import Store

Device = Literal["auto", "cpu", "cuda"]
_ROW_TOKENS = 1024  # length of rows that a base is checked with before the first pack; longer ones are checked later


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run a plan; nothing here changes results.

    Attributes:
        pack: largest number of stages that share one forward and backward pass.
        spread: number of workers for which packs are sized, so that no worker idles when there are few stages; None
            fills every pack.
        workers: number of workers; None takes one per GPU, or one per machine without GPUs.
        ranks: processes per worker (a data-parallel group).
        zero: ZeRO stage of such a group; 3 partitions the base.
        offload: what is kept in the machine's memory between uses.
        device: where workers compute.
        address: a Ray cluster; None starts a local one.
        gpus_per_worker: share of a GPU that each worker process reserves.
        labels: node labels that the workers' machines must have.
        retry_failed: whether to try final failures again.
        keep_warm: whether to leave the workers on the cluster for the next run.
        max_hours: GPU hours that the workers may use (without GPUs: process hours).
        deadline: when to stop, in seconds since the epoch.
    """

    pack: int
    spread: int | None = None
    workers: int | None = None
    ranks: int = 1
    zero: int | None = None
    offload: Offload | None = None
    device: Device = "auto"
    address: str | None = None
    gpus_per_worker: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)
    retry_failed: bool = False
    keep_warm: bool = False
    max_hours: float | None = None
    deadline: float | None = None


def worker_config(
    plan: Plan, store: Store, options: RunOptions, *, device: Device, threads: int | None
) -> RunnerConfig:
    """Return the configuration of a worker process.

    Raises:
        UserError: a base in float8 cannot be partitioned.
    """
    if plan.dtype == "float8" and zero_stage(options.zero, ranks=1, offload=options.offload) == 3:
        raise UserError("dtype: float8 is for a base that is whole on one device: no --zero 3, no --offload params")
    return RunnerConfig(
        base=plan.sources.base,
        corpus=plan.sources.corpus.path,
        store_url=store.url,
        dtype=plan.dtype,
        device=device,
        zero=options.zero,
        offload=options.offload,
        trust_remote_code=plan.grid.trust_remote_code,
        threads=threads,
        slots=options.pack,
        judges=configs(plan.grid, plan.sources),
        plugins=tuple(map(read_plugin, plan.grid.plugins)),
        sequence_length=plan.grid.sequence_length,
        needs=_needs(plan),
    )


def _needs(plan: Plan) -> Needs | None:
    """Return what the plan's stages need of the base model; None if no stage uses it."""
    on_base = [stage for stage in plan.stages.values() if "lora" in stage.spec]
    if not on_base:
        return None
    return Needs(
        lora=Lora.model_validate(on_base[0].spec["lora"]),
        path=on_base[0].spec.get("path", "fast"),
        longest=plan.grid.sequence_length or _ROW_TOKENS,
        answers=any(stage.kind == "evaluate" for stage in on_base),
    )
