"""Measure this device with a plan's base, before anything has run: `plan --calibrate` and `base check`."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from xlharm.engine.choices import FULL_PACK, has_gpu
from xlharm.engine.estimates import Device, clocks_of, remember_rates
from xlharm.engine.options import RunOptions, worker_config
from xlharm.plan.build import Plan
from xlharm.plan.packs import Pack, packs
from xlharm.plan.settings import training_of
from xlharm.plan.stage import TRAINED, Kind, Stage
from xlharm.plan.timing import Clock, answering
from xlharm.stages.job import PackJob
from xlharm.store.store import Store

if TYPE_CHECKING:  # they load torch
    from xlharm.stages.calibration import Answers, Steps
    from xlharm.stages.context import Context

_STEP_SECONDS = 0.5  # a step that is expected to take longer is measured with fewer stages and fewer rows


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was measured with a base on this device.

    Attributes:
        device: type of the device.
        start: seconds to import what a worker needs, load the base and check it, make an engine and compile code.
        compared: what the checks of the base compared, in words.
        steps: the pace of training, by kind of stage.
        answers: the pace of answering; None where the plan asks nothing.
        slots: stages of the measured packs, by kind.
        factors: measured seconds divided by those of the plan's clock, by kind.
    """

    device: Device
    start: float
    compared: str
    steps: Mapping[Kind, "Steps"]
    answers: "Answers | None"
    slots: Mapping[Kind, int]
    factors: Mapping[Kind, float]


def calibrate(plan: Plan) -> Calibration:
    """Load a plan's base as a worker does, check it, and measure a pack of each kind; the factors are remembered.

    Raises:
        UserError: the base cannot be loaded, or it does not pass its checks.
    """
    device: Device = "cuda" if has_gpu() else "cpu"
    clock = clocks_of(plan)[device]
    with tempfile.TemporaryDirectory(prefix="xlharm-") as folder:
        options = RunOptions(pack=FULL_PACK[device], device=device)
        config = worker_config(plan, Store(folder), options, device=device, threads=None)
        begun = time.perf_counter()
        from xlharm.stages.context import Context

        context = Context(config)
        loaded = time.perf_counter() - begun
        measured = _measured(plan, context, clock, device=device, loaded=loaded)
    remember_rates(plan.sources.base, device, factors=measured.factors, start=measured.start)
    return measured


def _measured(plan: Plan, context: "Context", clock: Clock, *, device: Device, loaded: float) -> Calibration:
    from xlharm.stages.calibration import answers_of, steps_of

    steps: dict[Kind, Steps] = {}
    slots: dict[Kind, int] = {}
    factors: dict[Kind, float] = {}
    answers, prepared = None, context.prepared
    for kind, job in jobs_of(plan, clock):
        slots[kind] = len(job.stages)
        if kind == "evaluate":
            answers = answers_of(context, job)
            factors[kind] = answers.seconds / expected_of_answers(answers, job, clock)
        else:
            steps[kind] = steps_of(context, job)
            factors[kind] = steps[kind].seconds / expected_of_step(job, clock)
    return Calibration(
        device=device, start=loaded + context.prepared - prepared, compared=context.compared, steps=steps,
        answers=answers, slots=slots, factors=factors,
    )  # fmt: skip


def expected_of_step(job: PackJob, clock: Clock) -> float:
    """Return the clock's uncorrected seconds of a training step of a pack."""
    return sum(clock.uncorrected(stage, slots=len(job.stages)) / _steps(stage) for stage in job.stages)


def expected_of_answers(answers: "Answers", job: PackJob, clock: Clock) -> float:
    """Return the clock's uncorrected seconds of a pack's answers."""
    work = answering(clock.sizes, read=answers.read, new=answers.new, passes=answers.passes)
    return clock.of(work, dtype=job.stages[0].spec["dtype"], slots=1)


def jobs_of(plan: Plan, clock: Clock) -> Iterator[tuple[Kind, PackJob]]:
    """Yield a pack of each kind that trains, and of evaluations without a probe, cut to what a moment can measure."""
    largest: dict[Kind, Pack] = {}
    for pack in packs(plan, size=FULL_PACK["cuda" if has_gpu() else "cpu"]):
        plain = plan.stages[pack.keys[0]].spec.get("probe") is None
        if (pack.kind in TRAINED or pack.kind == "evaluate") and plain:
            largest[pack.kind] = max(largest.get(pack.kind, pack), pack, key=lambda p: len(p.keys))
    for kind, pack in largest.items():
        stages = [plan.stages[key] for key in pack.keys]
        if kind in TRAINED:
            stages = _cut(stages, clock)
        yield kind, PackJob(id="calibration", kind=kind, stages=tuple(stages), active=(True,) * len(stages))


def _cut(stages: list[Stage], clock: Clock) -> list[Stage]:
    """Leave out stages, then rows of the batch, until a step is expected to take a moment."""
    each = clock.uncorrected(stages[0], slots=1) / _steps(stages[0])
    kept = stages[: max(1, int(_STEP_SECONDS / each))]
    share = _STEP_SECONDS / each
    return kept if share >= 1 else [replace(kept[0], spec=_fewer_rows(kept[0].spec, share))]


def _fewer_rows(spec: dict[str, Any], share: float) -> dict[str, Any]:
    training = dict(spec["training"])
    for name in ("batch_size", "retain_batch_size"):
        if name in training:
            training[name] = max(1, int(training[name] * share))
    return {**spec, "training": training}


def _steps(stage: Stage) -> int:
    settings = training_of(stage)
    assert settings is not None
    return settings.training.steps
