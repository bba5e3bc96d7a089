"""What a search has tried: a small file in the store, so that the same command does only what is missing.

The numbers are not in it: they are read from the stages that each trial's plan names.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from xlharm.errors import UserError
from xlharm.spec.search import Point
from xlharm.store.store import Store

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

    def save(self, store: Store, name: str) -> None:
        """Write it down."""
        store.write_text(_file(name), self.model_dump_json(indent=1))


def load(store: Store, name: str) -> Ledger | None:
    """Read a search's ledger; None when the search is new.

    Raises:
        UserError: it is damaged.
    """
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
