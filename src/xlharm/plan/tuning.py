"""A search over the hyperparameters of one method in one cell: each point has a small plan of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from xlharm.config.grid import NONE, Dtype, GridSpec, Method
from xlharm.config.load import parse_grid
from xlharm.config.search import STEPS, Point, Space, default_space, rungs_of, space_of
from xlharm.errors import UserError, nearest
from xlharm.plan.build import Plan, build
from xlharm.plan.cells import Cell
from xlharm.plan.digest import digest
from xlharm.plan.sources import Sources


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What is searched.

    Attributes:
        grid: the grid, reduced to the cell in all its seeds and its model before unlearning, on the corpus for tuning.
        sources: base and corpus of that grid.
        dtype: as in the whole grid.
        space: the fields that are searched, with their values.
        rungs: training steps at which trials are compared; empty when every trial runs in full.
    """

    grid: GridSpec
    sources: Sources
    dtype: Dtype
    space: Space
    rungs: tuple[int, ...]

    @property
    def name(self) -> str:
        """The method's name in the grid."""
        return next(iter(self.grid.methods))

    @property
    def cell(self) -> str:
        """The cell's name without its seed, then the seeds."""
        unlearned = self.plan({}).cells[-1]
        return f"{unlearned.name.rpartition('/')[0]}, seed {', '.join(map(str, self.grid.seeds))}"

    @property
    def method(self) -> Method:
        """The method with the grid's own values."""
        return self.grid.methods[self.name]

    @property
    def own(self) -> Point | None:
        """The point of the grid's own values; None when the space does not contain it."""
        point = {field: getattr(self.method, field) for field in self.space}
        return point if all(self.space[f].holds(v) for f, v in point.items()) else None

    @classmethod
    def of(cls, grid: GridSpec, *, sources: Sources, dtype: Dtype, search: Sequence[str], halving: bool) -> Self:
        """Read the search space.

        Args:
            grid: a grid that is reduced to one cell.
            sources: base and corpus of that grid.
            dtype: as in the whole grid.
            search: one text per field; empty for the default space.
            halving: whether to compare trials at fewer steps first; values of `steps` are then the rungs.

        Raises:
            UserError: a text is wrong.
        """
        name, method = next(iter(grid.methods.items()))
        space = space_of(search, method=method, name=name) or default_space(method)
        rungs = rungs_of(method, space.pop(STEPS, None)) if halving else ()
        return cls(grid=grid, sources=sources, dtype=dtype, space=space, rungs=rungs)

    def changes(self, setting: Point) -> Point:
        """Return the values of a setting that differ from the grid's own."""
        return {field: value for field, value in setting.items() if getattr(self.method, field) != value}

    def settings(self, point: Point) -> list[Point]:
        """Return the settings that a trial runs one after another: the point with the steps of each rung."""
        return [{**point, STEPS: rung} for rung in self.rungs] or [point]

    def changed(self, setting: Point) -> Method:
        """Return the method with the values of a setting."""
        return type(self.method).model_validate({**self.method.model_dump(), **setting})

    def plan(self, setting: Point) -> Plan:
        """Return the plan of the cell with the values of a setting."""
        data = self.grid.model_dump(mode="json")
        data["methods"] = {self.name: self.changed(setting).model_dump(mode="json")}
        return build(parse_grid(data, name=self.grid.name), sources=self.sources, dtype=self.dtype)

    def id(self, *, algorithm: str) -> str:
        """Return the search's name: a digest of everything that decides its trials and their comparison."""
        searched = {*self.space, *([STEPS] if self.rungs else [])}
        method = {f: v for f, v in self.method.model_dump(mode="json").items() if f not in searched}
        before = [c for c in self.plan({}).cells if c.unlearn == NONE]
        identity: dict[str, Any] = {
            "before": [[c.model, c.evaluations] for c in before],
            "unlearn": [list(x) for x in self.grid.unlearn.values()],
            "method": method,
            "space": {field: str(domain) for field, domain in self.space.items()},
            "rungs": list(self.rungs),
            "algorithm": algorithm,
        }
        return digest(identity)[:16]


def cells_meant(plan: Plan, wanted: str | None) -> tuple[Cell, ...]:
    """Return the cell to tune, in all its seeds, or in the seed that the name contains.

    Args:
        plan: the whole plan.
        wanted: the first parts of a cell's name; None when the plan has only one cell that can be tuned.

    Raises:
        UserError: no cell of that name unlearns anything after contamination, or several do.
    """
    parts = wanted.split("/") if wanted else []
    tunable = [c for c in plan.cells if NONE not in {c.unlearn, c.contaminate}]
    matches = [c for c in tunable if c.name.split("/")[: len(parts)] == parts]
    names = list(dict.fromkeys(c.name.rpartition("/")[0] for c in matches))
    if len(names) == 1:
        return tuple(matches)
    prefix = f"--cell {wanted}" if wanted else plan.grid.name
    if names:
        raise UserError(f"{prefix}: several cells fit; give one: --cell {' or '.join(names[:8])}")
    all_names = list(dict.fromkeys(c.name.rpartition("/")[0] for c in tunable))
    choices = ", ".join(all_names[:12]) or "none: nothing is unlearned after contamination"
    raise UserError(f"{prefix}: no cell of that name unlearns anything{nearest(wanted or '', all_names)} ({choices})")


def cut_down(spec: GridSpec, cells: Sequence[Cell], *, corpus: str, questions: int | None) -> GridSpec:
    """Return a grid of one cell in its seeds, with its model before unlearning, without scores, probes and judges.

    Args:
        spec: the whole grid.
        cells: the cell, once for each seed.
        corpus: name of the corpus for tuning.
        questions: most questions per language; None takes the grid's number.
    """
    first = cells[0]
    data = spec.model_dump(mode="json")
    data |= {
        "corpus": corpus,
        "contaminate": [first.contaminate],
        "unlearn": {NONE: [], "tuned": first.unlearn.split("+")},
        "methods": {first.method: data["methods"][first.method]},
        "seeds": [c.seed for c in cells],
        "probes": {},
        "judges": {},
        "exclude": [],
    }
    data["evaluate"] |= {
        "scores": False,
        "questions": min(questions or spec.evaluate.questions, spec.evaluate.questions),
    }
    return parse_grid(data, name=spec.name)
