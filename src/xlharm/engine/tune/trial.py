"""The actor of Ray Tune: it runs trial after trial, and computes a small plan for each setting of a trial."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray import tune

from xlharm.config.search import FACTOR, Point, Space
from xlharm.engine.executor import Runner, load_runner
from xlharm.engine.in_process import InProcess
from xlharm.engine.options import RunOptions
from xlharm.engine.progress import Snapshot
from xlharm.engine.run import run_grid
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.plan.tuning import Tuning
from xlharm.stages.job import RunnerConfig
from xlharm.store.store import Store

logger = logging.getLogger(__name__)

Score = Callable[[Plan, Store], Mapping[str, float]]
"""Computes numbers from a finished plan's results. The search minimises `score`; the others are shown to the user."""
WORST = 1000.0  # the score of a trial without a result


@dataclass(frozen=True, kw_only=True)
class TrialTask:
    """The configuration of every actor.

    Attributes:
        tuning: what is searched.
        config: the runner's configuration.
        runner: the runner's class, as ``module:name``.
        score: computes the score of a finished plan.
        ended: rungs reached by each trial that ended in an earlier search, by point. Such a trial reports the results
            of these rungs again, because the scheduler compares the other trials with them.
    """

    tuning: Tuning
    config: RunnerConfig
    runner: str
    score: Score
    ended: Mapping[tuple[Any, ...], int]


def point_of(config: Mapping[str, Any], space: Space) -> Point:
    """Return the point of a trial's configuration, with values rounded to those that the space allows."""
    return {field: domain.near(config["point"][field]) for field, domain in space.items()}


class CellTrial(tune.Trainable):  # type: ignore[misc] # Ray has no types
    """Runs trial after trial; each step computes the plan of the trial's next setting."""

    def setup(self, config: dict[str, Any], *, task: TrialTask) -> None:
        """Start with the first trial; the base is loaded when the store lacks a stage."""
        self._task = task
        self._runner: Runner | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in the same process; the base stays loaded."""
        self._point = point_of(new_config, self._task.tuning.space)
        self._reached = 0
        return True

    def step(self) -> dict[str, Any]:
        """Evaluate the trial at its next rung."""
        settings = self._task.tuning.settings(self._point)
        last = self._task.ended.get(tuple(self._point.items()), len(settings))
        result = self._evaluate(settings[self._reached])
        rung, self._reached = self._reached, self._reached + 1
        done = self._reached >= last or "failed" in result or "mistake" in result
        return {"resource": FACTOR**rung, "reached": self._reached, "done": done, **result}

    def _evaluate(self, setting: Point) -> dict[str, Any]:
        plan, store = self._task.tuning.plan(setting), Store(self._task.config.store_url)
        options = RunOptions(pack=self._task.config.slots)
        try:
            outcome = run_grid(
                plan, store, options, on_progress=_log, start_executor=lambda *_: InProcess(self._loaded_runner)
            )
            if outcome.interrupted:
                raise RuntimeError("stopped")
            for failure in outcome.failures.values():
                return {"score": WORST, "failed": f"{failure.reason}: {failure.message}", "final": failure.final}
            return dict(self._task.score(plan, store))
        except UserError as error:
            return {"score": WORST, "mistake": str(error)}

    def _loaded_runner(self) -> Runner:
        if self._runner is None:
            self._runner = load_runner(self._task.runner, self._task.config)
        return self._runner


def _log(snapshot: Snapshot) -> None:
    for note in snapshot.notes:
        logger.warning(note)
