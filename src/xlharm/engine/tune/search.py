"""A search on Ray Tune: each trial a point, each of its results a plan that is in the store."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

from xlharm.config.search import FACTOR, Point, Range, Space, points
from xlharm.engine.executor import RUNNER
from xlharm.engine.options import RunOptions, worker_config
from xlharm.engine.placement import shape_of
from xlharm.engine.ray.cluster import Cluster, connected
from xlharm.engine.signals import Stop, interruptions
from xlharm.engine.tune.trial import CellTrial, Score, Task, point_of
from xlharm.errors import UserError
from xlharm.parallel import user_threads
from xlharm.store.ledger import Ended, Tried, Work
from xlharm.store.store import Store

logger = logging.getLogger(__name__)

_CRASHES = 3  # attempts that a trial may cost by losing its process


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search to be run.

    Attributes:
        work: what is searched, and what was tried before; its ledger is kept up to date.
        store: where results go.
        trials: how many points there shall be, earlier ones included.
        score: reads a finished plan.
        options: device, cluster and workers; packs hold the seeds of one trial.
        runner: dotted path of the runner's class.
    """

    work: Work
    store: Store
    trials: int
    score: Score
    options: RunOptions
    runner: str = RUNNER


OnResult = Callable[[Tried, Point, Mapping[str, Any]], None]
"""Called with a trial, the setting that was evaluated, and what was measured."""


def run_search(search: Search, *, on_result: OnResult) -> bool:
    """Run what is missing of a search; False when somebody stopped it.

    Raises:
        UserError: the cluster, the device or the base is not as asked for.
        EngineError: Ray does not start.
    """
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the old output can be silent
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # ours says how to go on
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    options = search.options
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(interruptions())
        cluster = stack.enter_context(connected(options.address, cpus=options.workers, device=options.device))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xlharm-tune-"))
        stop.install()  # starting Ray may have put its own handlers in place
        scribe = _Scribe(search, stop=stop, on_result=on_result)
        try:
            _tuner(search, cluster, scribe=scribe, folder=folder).fit()
        except _HaltError:
            if scribe.mistake:
                raise UserError(scribe.mistake) from None
            return False
    return True


def _tuner(search: Search, cluster: Cluster, *, scribe: "_Scribe", folder: str) -> tune.Tuner:
    options, work = search.options, search.work
    tuning, tried = work.tuning, work.ledger.tried
    shape = shape_of(
        cluster.cpus(), cluster.gpus(), device=options.device, workers=options.workers, ranks=1, most=search.trials,
        share=options.gpus_per_worker, threads=user_threads(),
    )  # fmt: skip
    task = Task(
        tuning=tuning,
        config=worker_config(tuning.plan({}), search.store, options, device=shape.device, threads=shape.threads),
        runner=search.runner,
        score=search.score,
        ended={tuple(t.point.items()): t.reached for t in tried if t.ended},
    )
    first = [t.point for t in tried] or ([tuning.own] if tuning.own else [])
    chosen = points(tuning.space, count=search.trials, first=first)
    space: dict[str, Any] | None = {"point": tune.grid_search(chosen)}
    more: dict[str, Any] = {}
    if work.algorithm == "optuna" and len(points(tuning.space, count=len(chosen) + 1, first=first)) > len(chosen):
        space, more = None, {"search_alg": _optuna(tuning.space, first=first), "num_samples": len(chosen)}
    halving = AsyncHyperBandScheduler(
        time_attr="resource", max_t=max(FACTOR ** (len(tuning.rungs) - 1), 1), grace_period=1, reduction_factor=FACTOR
    )
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(CellTrial, task=task), {"cpu": shape.cpus, "gpu": shape.gpus}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="score",
            mode="min",
            max_concurrent_trials=shape.workers,
            reuse_actors=True,  # the base stays loaded from trial to trial
            scheduler=halving if tuning.rungs else FIFOScheduler(),
            **more,
        ),
        run_config=tune.RunConfig(
            name="search", storage_path=folder, verbose=0, callbacks=[scribe],
            failure_config=tune.FailureConfig(max_failures=_CRASHES - 1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # results are in the store
        ),
    )  # fmt: skip


def _optuna(space: Space, *, first: list[Point]) -> Any:
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: dict[str, Any] = {}
    for field, domain in space.items():
        if not isinstance(domain, Range):
            found[f"point/{field}"] = CategoricalDistribution(domain.values)
        elif domain.whole:
            found[f"point/{field}"] = IntDistribution(int(domain.low), int(domain.high), log=domain.log)
        else:
            found[f"point/{field}"] = FloatDistribution(domain.low, domain.high, log=domain.log)
    # a sampler begins anew in each process: with the same seed it would ask for what is known
    known = [{f"point/{field}": value for field, value in point.items()} for point in first]
    return OptunaSearch(space=found, points_to_evaluate=known, metric="score", mode="min", seed=len(first))


class _HaltError(BaseException):
    """Ends the loop of Ray Tune at once; its own way waits for actors that the cluster ends anyway."""


class _Scribe(tune.Callback):  # type: ignore[misc] # Ray has no types
    """Keeps the ledger."""

    def __init__(self, search: Search, *, stop: Stop, on_result: OnResult) -> None:
        self._search = search
        self._stop = stop
        self._on_result = on_result
        self.mistake = ""

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        # Ray Tune writes its callbacks down for a resumption of its own kind, which is not used.
        return tune.Callback, ()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ARG002 - Ray's form
        if self._stop.hit or self.mistake:
            raise _HaltError

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        self._tried(trial)
        self._save()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any  # noqa: ARG002
    ) -> None:  # fmt: skip
        self.mistake = self.mistake or str(result.get("mistake", ""))
        tried = self._tried(trial)
        if self.mistake or tried.ended:
            return
        settings = self._search.work.tuning.settings(tried.point)
        tried.reached = max(tried.reached, int(result["reached"]))
        tried.ended = ended(result, of=len(settings))
        tried.why = str(result.get("failed", ""))
        self._save()
        self._on_result(tried, settings[int(result["reached"]) - 1], result)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        self._tried(trial).why = "its process died again and again" if trial.num_failures else "it did not start"
        self._save()

    def _tried(self, trial: Any) -> Tried:
        return self._search.work.ledger.find(point_of(trial.config, self._search.work.tuning.space))

    def _save(self) -> None:
        self._search.work.save(self._search.store)


def ended(result: Mapping[str, Any], *, of: int) -> Ended:
    """Say how a trial ended with a result: not yet, failed for good, in full, or stopped on the way.

    Args:
        result: what the trial told, `done` set by itself or by the scheduler.
        of: how many rungs there are.
    """
    if "failed" in result:
        return "failed" if result["final"] else ""
    if not result["done"]:
        return ""
    return "complete" if result["reached"] >= of else "stopped"
