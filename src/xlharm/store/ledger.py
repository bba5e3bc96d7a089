"""The ledger of a search: a small file in the store that lists its trials, so that a search can be continued.

Results are not in it: they are read from the stages of each trial's plan.
"""

from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from xlharm.config.search import Point, space_of
from xlharm.errors import UserError
from xlharm.plan.tuning import Tuning
from xlharm.store.store import Store

Algorithm = Literal["random", "optuna"]
TrialEnd = Literal["", "complete", "stopped", "failed"]


class TrialEntry(BaseModel):
    """One trial of a search.

    Attributes:
        point: values by field.
        reached: number of the trial's rungs that have been evaluated.
        ended: `complete`; `stopped` early because other trials were better; `failed` for good; empty before the end.
        why: reason of a failure.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    point: Point
    reached: int = 0
    ended: TrialEnd = ""
    why: str = ""


class Ledger(BaseModel):
    """The trials of a search, in the order in which they were started.

    Attributes:
        search: the space: one text per field, as on the command line.
        rungs: training steps at which trials are compared; empty when every trial runs in full.
        tried: the trials.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    search: tuple[str, ...]
    rungs: tuple[int, ...]
    tried: list[TrialEntry] = []

    def find(self, point: Point) -> TrialEntry:
        """Return the entry of a point; a new point is added."""
        for entry in self.tried:
            if entry.point == point:
                return entry
        self.tried.append(TrialEntry(point=point))
        return self.tried[-1]


@dataclass(frozen=True, kw_only=True)
class SearchState:
    """A search and its ledger.

    Attributes:
        tuning: what is searched.
        algorithm: how points are chosen.
        name: name of the ledger's file.
        ledger: the trials so far.
    """

    tuning: Tuning
    algorithm: Algorithm
    name: str
    ledger: Ledger

    def save(self, store: Store) -> None:
        """Write the ledger to the store."""
        store.write_text(_file(self.name), self.ledger.model_dump_json(indent=1))

    def under(self, tuning: Tuning) -> "SearchState":
        """Return the same search under the name that ``tuning`` gives it, after the grid's own values have changed."""
        return replace(self, name=tuning.id(algorithm=self.algorithm))

    def left(self, store: Store, *, trials: int) -> bool:
        """Whether something is left to run: a new trial, the rest of one, or a stage that the store has lost."""
        entries = self.ledger.tried
        if len(entries) < trials or not all(t.ended for t in entries):
            return True
        settings = [s for t in entries if t.ended != "failed" for s in self.tuning.settings(t.point)[: t.reached]]
        stages = {key: stage for setting in settings for key, stage in self.tuning.plan(setting).stages.items()}
        return len(store.done(stages)) < len(stages)


def load_search(store: Store, tuning: Tuning, *, algorithm: Algorithm) -> SearchState:
    """Read a search from the store, or start a new one.

    An earlier search keeps the space and rungs that it was started with. Defaults would differ after its best values
    have been written into the grid, because they depend on the grid's own values.

    Raises:
        UserError: its ledger is damaged.
        StoreError: its ledger cannot be read.
    """
    name = tuning.id(algorithm=algorithm)
    texts = tuple(f"{field}={domain}" for field, domain in tuning.space.items())
    ledger = _read(store, name) or Ledger(search=texts, rungs=tuning.rungs)
    space = space_of(ledger.search, method=tuning.method, name=tuning.name)
    started = replace(tuning, space=space, rungs=ledger.rungs)
    return SearchState(tuning=started, algorithm=algorithm, name=name, ledger=ledger)


def _read(store: Store, name: str) -> Ledger | None:
    try:
        content = store.read(_file(name))
    except FileNotFoundError:
        return None
    try:
        return Ledger.model_validate_json(content)
    except ValidationError:
        raise UserError(f"{store.url}/{_file(name)}: damaged; remove it: the stages of its trials are kept") from None


def _file(name: str) -> str:
    return f"tune/{name}.json"
