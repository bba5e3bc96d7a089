"""What a search has tried: a small file in the store, so that the same command does only what is missing.

The numbers are not in it: they are read from the stages that each trial's plan names.
"""

from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from xlharm.config.search import Point, space_of
from xlharm.errors import UserError
from xlharm.plan.tuning import Tuning
from xlharm.store.store import Store

Algorithm = Literal["random", "optuna"]
Ended = Literal["", "complete", "stopped", "failed"]


class Tried(BaseModel):
    """One point of a search.

    Attributes:
        point: values by field.
        reached: how many of the trial's rungs have been evaluated.
        ended: `complete`, `stopped` on the way because others were better, `failed` for good, or not yet.
        why: of a failure.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    point: Point
    reached: int = 0
    ended: Ended = ""
    why: str = ""


class Ledger(BaseModel):
    """The points of a search in the order in which they were begun.

    Attributes:
        search: the space, one text a field as on the command line.
        rungs: steps at which trials are compared on the way.
        tried: the points.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    search: tuple[str, ...]
    rungs: tuple[int, ...]
    tried: list[Tried] = []

    def find(self, point: Point) -> Tried:
        """Return the entry of a point; a new point is added."""
        for known in self.tried:
            if known.point == point:
                return known
        self.tried.append(Tried(point=point))
        return self.tried[-1]


@dataclass(frozen=True, kw_only=True)
class SearchWork:
    """A search, and what was tried of it before.

    Attributes:
        tuning: what is searched.
        algorithm: how points are chosen.
        name: of the ledger.
        ledger: what was tried.
    """

    tuning: Tuning
    algorithm: Algorithm
    name: str
    ledger: Ledger

    def save(self, store: Store) -> None:
        """Write the ledger down."""
        store.write_text(_file(self.name), self.ledger.model_dump_json(indent=1))

    def under(self, tuning: Tuning) -> "SearchWork":
        """Return the same work by the name that it has once the grid's own numbers are others."""
        return replace(self, name=tuning.id(algorithm=self.algorithm))

    def left(self, store: Store, *, trials: int) -> bool:
        """Whether something is missing: trials, an end of one, or a stage of what was evaluated."""
        tried = self.ledger.tried
        if len(tried) < trials or not all(t.ended for t in tried):
            return True
        reached = [s for t in tried if t.ended != "failed" for s in self.tuning.settings(t.point)[: t.reached]]
        stages = {key: stage for setting in reached for key, stage in self.tuning.plan(setting).stages.items()}
        return len(store.done(stages)) < len(stages)


def take_up(store: Store, tuning: Tuning, *, algorithm: Algorithm) -> SearchWork:
    """Take up a search where it was left, or begin it.

    The space and rungs that it was begun with count: once a winner is written back, defaults lie around other values.

    Raises:
        UserError: its ledger is damaged.
    """
    name = tuning.id(algorithm=algorithm)
    texts = tuple(f"{field}={domain}" for field, domain in tuning.space.items())
    ledger = _read(store, name) or Ledger(search=texts, rungs=tuning.rungs)
    space = space_of(ledger.search, method=tuning.method, name=tuning.name)
    known = replace(tuning, space=space, rungs=ledger.rungs)
    return SearchWork(tuning=known, algorithm=algorithm, name=name, ledger=ledger)


def _read(store: Store, name: str) -> Ledger | None:
    try:
        text = store.read_text(_file(name))
    except OSError:
        return None
    try:
        return Ledger.model_validate_json(text)
    except ValidationError:
        raise UserError(f"{store.url}/{_file(name)}: damaged; remove it: the stages of its trials are kept") from None


def _file(name: str) -> str:
    return f"tune/{name}.json"
