"""A search over one method of one cell: every point is a small plan of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from xlharm.config.grid import NONE, GridSpec, Method
from xlharm.config.load import parse_grid
from xlharm.config.search import STEPS, Point, Space, default_space, rungs_of, space_of
from xlharm.errors import UserError, nearest
from xlharm.plan.build import Plan, build
from xlharm.plan.cells import Cell, Dtype
from xlharm.plan.digest import digest
from xlharm.plan.sources import Sources


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What is searched.

    Attributes:
        grid: the grid cut down to the cell (in all its seeds) and its model before unlearning, on the corpus that
            settings are chosen on.
        sources: of that grid.
        dtype: as in the whole grid.
        space: the numbers that are searched.
        rungs: steps at which trials are compared on the way; empty runs every trial in full.
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
        """The cell, in words."""
        unlearned = self.plan({}).cells[-1]
        return f"{unlearned.name.rpartition('/')[0]}, seed {', '.join(map(str, self.grid.seeds))}"

    @property
    def method(self) -> Method:
        """The method as the grid has it."""
        return self.grid.methods[self.name]

    @property
    def own(self) -> Point | None:
        """The grid's own values, if they are among the points."""
        found = {field: getattr(self.method, field) for field in self.space}
        return found if all(self.space[f].holds(v) for f, v in found.items()) else None

    @classmethod
    def of(cls, grid: GridSpec, *, sources: Sources, dtype: Dtype, search: Sequence[str], halving: bool) -> Self:
        """Read what is to be searched.

        Args:
            grid: cut down to one cell.
            sources: of that grid.
            dtype: as in the whole grid.
            search: one text a field; none for the default space.
            halving: compare trials at fewer steps first; `steps` among the texts are then the rungs.

        Raises:
            UserError: a text is wrong.
        """
        name, method = next(iter(grid.methods.items()))
        space = space_of(search, method=method, name=name) or default_space(method)
        rungs = rungs_of(method, space.pop(STEPS, None)) if halving else ()
        return cls(grid=grid, sources=sources, dtype=dtype, space=space, rungs=rungs)

    def changes(self, setting: Point) -> Point:
        """Return those values of a setting that are not the grid's own."""
        return {field: value for field, value in setting.items() if getattr(self.method, field) != value}

    def settings(self, point: Point) -> list[Point]:
        """Return what a trial at a point runs, one after another: the point at every rung."""
        return [{**point, STEPS: rung} for rung in self.rungs] or [point]

    def changed(self, setting: Point) -> Method:
        """Return the method with other numbers."""
        return type(self.method).model_validate({**self.method.model_dump(), **setting})

    def plan(self, setting: Point) -> Plan:
        """Return the plan of the cell with other numbers."""
        data = self.grid.model_dump(mode="json")
        data["methods"] = {self.name: self.changed(setting).model_dump(mode="json")}
        return build(parse_grid(data, name=self.grid.name), sources=self.sources, dtype=self.dtype)

    def id(self, *, algorithm: str) -> str:
        """Name the search: a digest of all that decides what its trials are and how they are compared."""
        searched = {*self.space, *([STEPS] if self.rungs else [])}
        method = {f: v for f, v in self.method.model_dump(mode="json").items() if f not in searched}
        before = [c for c in self.plan({}).cells if c.unlearn == NONE]
        told: dict[str, Any] = {
            "before": [[c.model, c.evaluations] for c in before],
            "unlearn": [list(x) for x in self.grid.unlearn.values()],
            "method": method,
            "space": {field: str(domain) for field, domain in self.space.items()},
            "rungs": list(self.rungs),
            "algorithm": algorithm,
        }
        return digest(told)[:16]


def cells_meant(plan: Plan, wanted: str | None) -> tuple[Cell, ...]:
    """Return the cell that is to be tuned, in all seeds that the name leaves open.

    Raises:
        UserError: no cell of that name has something to unlearn, or several do.
    """
    parts = wanted.split("/") if wanted else []
    can = [c for c in plan.cells if NONE not in {c.unlearn, c.contaminate}]
    hits = [c for c in can if c.name.split("/")[: len(parts)] == parts]
    names = list(dict.fromkeys(c.name.rpartition("/")[0] for c in hits))
    if len(names) == 1:
        return tuple(hits)
    told = f"--cell {wanted}" if wanted else plan.grid.name
    if names:
        raise UserError(f"{told}: several cells fit; give one: --cell {' or '.join(names[:8])}")
    known = list(dict.fromkeys(c.name.rpartition("/")[0] for c in can))
    choices = ", ".join(known[:12]) or "none: nothing is unlearned after contamination"
    raise UserError(f"{told}: no cell of that name unlearns anything{nearest(wanted or '', known)} ({choices})")


def cut_down(spec: GridSpec, cells: Sequence[Cell], *, corpus: str, questions: int | None) -> GridSpec:
    """Return a grid of one cell, in its seeds, and its model before; no scores, probes or judges."""
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
