"""A search on Ray Tune: each trial is a point, and each of its results comes from a plan in the store."""

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
from xlharm.engine.placement import worker_shape
from xlharm.engine.ray.cluster import Cluster, connected
from xlharm.engine.signals import StopFlag, interruptions
from xlharm.engine.tune.trial import CellTrial, Score, TrialTask, point_of
from xlharm.errors import UserError
from xlharm.parallel import user_threads
from xlharm.store.ledger import SearchState, TrialEnd, TrialEntry
from xlharm.store.store import Store

logger = logging.getLogger(__name__)

_CRASHES = 3  # attempts of a trial whose process dies


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search to be run.

    Attributes:
        state: what is searched, and the earlier trials; its ledger is updated and saved during the search.
        store: where results go.
        trials: number of points in the end, earlier ones included.
        score: computes the score of a finished plan.
        options: device, cluster and workers; a pack holds the seeds of one trial.
        runner: the runner's class, as ``module:name``.
    """

    state: SearchState
    store: Store
    trials: int
    score: Score
    options: RunOptions
    runner: str = RUNNER


OnResult = Callable[[TrialEntry, Point, Mapping[str, Any]], None]
"""Called with a trial, the setting that was evaluated, and its results."""


def run_search(search: Search, *, on_result: OnResult) -> bool:
    """Run the missing trials of a search; False when a signal stopped it.

    Raises:
        UserError: there is no such cluster or device, or a trial has distributions a mistake in the user's input.
        EngineError: Ray does not start.
    """
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output cannot be turned off
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # our own handler also tells the user how to continue
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    options = search.options
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(interruptions())
        cluster = stack.enter_context(connected(options.address, cpus=options.workers, device=options.device))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xlharm-tune-"))
        stop.install()  # again: starting Ray may have replaced the signal handlers
        callback = _LedgerCallback(search, stop=stop, on_result=on_result)
        try:
            _tuner(search, cluster, callback=callback, folder=folder).fit()
        except _HaltError:
            if callback.mistake:
                raise UserError(callback.mistake) from None
            return False
    return True


def _tuner(search: Search, cluster: Cluster, *, callback: "_LedgerCallback", folder: str) -> tune.Tuner:
    options, state = search.options, search.state
    tuning, trials = state.tuning, state.ledger.tried
    shape = worker_shape(
        cluster.cpus(), cluster.gpus(), device=options.device, workers=options.workers, ranks=1, most=search.trials,
        share=options.gpus_per_worker, threads=user_threads(),
    )  # fmt: skip
    task = TrialTask(
        tuning=tuning,
        config=worker_config(tuning.plan({}), search.store, options, device=shape.device, threads=shape.threads),
        runner=search.runner,
        score=search.score,
        ended={tuple(t.point.items()): t.reached for t in trials if t.ended},
    )
    first = [t.point for t in trials] or ([tuning.own] if tuning.own else [])
    chosen = points(tuning.space, count=search.trials, first=first)
    space: dict[str, Any] | None = {"point": tune.grid_search(chosen)}
    sampling: dict[str, Any] = {}
    if state.algorithm == "optuna" and len(points(tuning.space, count=len(chosen) + 1, first=first)) > len(chosen):
        space, sampling = None, {"search_alg": _optuna(tuning.space, first=first), "num_samples": len(chosen)}
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
            reuse_actors=True,  # the base stays loaded between trials
            scheduler=halving if tuning.rungs else FIFOScheduler(),
            **sampling,
        ),
        run_config=tune.RunConfig(
            name="search", storage_path=folder, verbose=0, callbacks=[callback],
            failure_config=tune.FailureConfig(max_failures=_CRASHES - 1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # results are in the store
        ),
    )  # fmt: skip


def _optuna(space: Space, *, first: list[Point]) -> Any:
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions: dict[str, Any] = {}
    for field, domain in space.items():
        if not isinstance(domain, Range):
            distributions[f"point/{field}"] = CategoricalDistribution(domain.values)
        elif domain.whole:
            distributions[f"point/{field}"] = IntDistribution(int(domain.low), int(domain.high), log=domain.log)
        else:
            distributions[f"point/{field}"] = FloatDistribution(domain.low, domain.high, log=domain.log)
    # A sampler starts anew in each process: with the seed of an earlier one, it would propose the same points again.
    known = [{f"point/{field}": value for field, value in point.items()} for point in first]
    return OptunaSearch(space=distributions, points_to_evaluate=known, metric="score", mode="min", seed=len(first))


class _HaltError(BaseException):
    """Ends the loop of Ray Tune at once. Tune's own stop would wait for actors, which end with the cluster anyway."""


class _LedgerCallback(tune.Callback):  # type: ignore[misc] # Ray has no types
    """Records trials and their results in the ledger.

    Attributes:
        mistake: message of a UserError in a trial; it ends the search.
    """

    def __init__(self, search: Search, *, stop: StopFlag, on_result: OnResult) -> None:
        self._search = search
        self._stop = stop
        self._on_result = on_result
        self.mistake = ""

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        # Ray Tune pickles its callbacks so that it can resume a search itself. We do not use that.
        return tune.Callback, ()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ARG002 - Ray's signature
        if self._stop.requested or self.mistake:
            raise _HaltError

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002 - likewise
        self._entry(trial)
        self._save()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any  # noqa: ARG002 - likewise
    ) -> None:  # fmt: skip
        self.mistake = self.mistake or str(result.get("mistake", ""))
        entry = self._entry(trial)
        if self.mistake or entry.ended:
            return
        settings = self._search.state.tuning.settings(entry.point)
        entry.reached = max(entry.reached, int(result["reached"]))
        entry.ended = end_of(result, rungs=len(settings))
        entry.why = str(result.get("failed", ""))
        self._save()
        self._on_result(entry, settings[int(result["reached"]) - 1], result)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002 - likewise
        self._entry(trial).why = "its process died repeatedly" if trial.num_failures else "it did not start"
        self._save()

    def _entry(self, trial: Any) -> TrialEntry:
        return self._search.state.ledger.find(point_of(trial.config, self._search.state.tuning.space))

    def _save(self) -> None:
        self._search.state.save(self._search.store)


def end_of(result: Mapping[str, Any], *, rungs: int) -> TrialEnd:
    """Return how a trial has ended after a result; empty when it has not.

    Args:
        result: the trial's result; the trial or the scheduler has set `done`.
        rungs: number of rungs of the search.
    """
    if "failed" in result:
        return "failed" if result["final"] else ""
    if not result["done"]:
        return ""
    return "complete" if result["reached"] >= rungs else "stopped"
