"""A warm worker of Ray Tune: trial after trial, each of its settings a small plan that it brings into the store."""

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
"""Reads a finished plan's results; `score` is what is to be low, the rest is for people."""
WORST = 1000.0  # the score of a trial without a result


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every actor needs.

    Attributes:
        tuning: what is searched.
        config: of the runner.
        runner: dotted path of its class.
        score: reads a finished plan.
        ended: how many rungs the trials that had ended before went; they tell those again, for the others' sake.
    """

    tuning: Tuning
    config: RunnerConfig
    runner: str
    score: Score
    ended: Mapping[tuple[Any, ...], int]


def point_of(config: Mapping[str, Any], space: Space) -> Point:
    """Return the point of a trial's configuration, its values as they are used."""
    return {field: domain.near(config["point"][field]) for field, domain in space.items()}


class CellTrial(tune.Trainable):  # type: ignore[misc] # Ray has no types
    """A warm worker that takes trial after trial: each step brings the trial's next setting into the store."""

    def setup(self, config: dict[str, Any], *, task: Task) -> None:
        """Take the first trial; the base is loaded when something is missing."""
        self._task = task
        self._runner: Runner | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial."""
        self._point = point_of(new_config, self._task.tuning.space)
        self._reached = 0
        return True

    def step(self) -> dict[str, Any]:
        """Evaluate the trial at its next rung."""
        settings = self._task.tuning.settings(self._point)
        last = self._task.ended.get(tuple(self._point.items()), len(settings))
        told = self._evaluate(settings[self._reached])
        place, self._reached = self._reached, self._reached + 1
        done = self._reached >= last or "failed" in told or "mistake" in told
        return {"resource": FACTOR**place, "reached": self._reached, "done": done, **told}

    def _evaluate(self, setting: Point) -> dict[str, Any]:
        plan, store = self._task.tuning.plan(setting), Store(self._task.config.store_url)
        options = RunOptions(pack=self._task.config.slots)
        try:
            outcome = run_grid(plan, store, options, on_progress=_log, start_executor=lambda *_: InProcess(self._warm))
            if outcome.interrupted:
                raise RuntimeError("stopped")
            for failure in outcome.failures.values():
                return {"score": WORST, "failed": f"{failure.reason}: {failure.message}", "final": failure.final}
            return dict(self._task.score(plan, store))
        except UserError as error:
            return {"score": WORST, "mistake": str(error)}

    def _warm(self) -> Runner:
        if self._runner is None:
            self._runner = load_runner(self._task.runner, self._task.config)
        return self._runner


def _log(seen: Snapshot) -> None:
    for note in seen.notes:
        logger.warning(note)
