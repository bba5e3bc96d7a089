"""Build the plan of a grid: its cells, and the stages that they share."""

from collections.abc import Iterator
from dataclasses import dataclass

from xlharm.config.grid import NONE, SOURCE, Dtype, GridSpec, ordered
from xlharm.errors import UserError, nearest
from xlharm.plan.cells import Cell, CellBuilder
from xlharm.plan.sources import Sources
from xlharm.plan.stage import KINDS, Kind, Stage


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All stages and cells of a grid.

    Attributes:
        grid: the grid.
        dtype: number type of the base; `auto` is resolved.
        sources: where base, judges and corpus are, and their digests.
        stages: stages by key, parents before children.
        cells: the cells, in the grid's order.
        naive: number of stages by kind if cells shared none.
        notes: warnings for the user: rules that exclude nothing.
    """

    grid: GridSpec
    dtype: Dtype
    sources: Sources
    stages: dict[str, Stage]
    cells: tuple[Cell, ...]
    naive: dict[Kind, int]
    notes: tuple[str, ...] = ()

    def children(self) -> dict[str, tuple[str, ...]]:
        """Return the keys of each stage's children."""
        children: dict[str, list[str]] = {key: [] for key in self.stages}
        for stage in self.stages.values():
            for parent in stage.inputs:
                children[parent].append(stage.key)
        return {key: tuple(keys) for key, keys in children.items()}

    def cell(self, name: str) -> Cell:
        """Return the cell of a name, or the only cell whose name begins with these parts.

        Raises:
            UserError: no cell matches, or several do.
        """
        parts = name.split("/")
        matches = [c for c in self.cells if c.name.split("/")[: len(parts)] == parts]
        if len(matches) == 1:
            return matches[0]
        names = ", ".join(c.name for c in (matches or self.cells)[:12])
        problem = "no such cell" if not matches else "several cells fit"
        raise UserError(f"{name}: {problem}; cells are contaminate/unlearn/method/seed: {names}")


def build(spec: GridSpec, *, sources: Sources, dtype: Dtype) -> Plan:
    """Enumerate a grid's cells and merge the stages they share.

    Raises:
        UserError: nothing is left after excludes.
    """
    stages: dict[str, Stage] = {}
    naive: dict[Kind, int] = dict.fromkeys(KINDS, 0)
    cells: dict[str, Cell] = {}
    builders: dict[tuple[str, str, int], CellBuilder] = {}
    for contaminate, names, method, seed in _combinations(spec):
        languages = ordered(contaminate if x == SOURCE else x for x in spec.unlearn[names])
        branch = (contaminate, method, seed)
        if branch not in builders:
            builders[branch] = CellBuilder(
                spec=spec, sources=sources, dtype=dtype, contaminate=contaminate, method=method, seed=seed
            )
        cell, lineage = builders[branch].cell(languages=languages)
        if cell.name in cells:  # with `source` replaced, two unlearning sets of the grid are the same
            continue
        cells[cell.name] = cell
        for stage in lineage:
            naive[stage.kind] += 1
            stages.setdefault(stage.key, stage)
    if not cells:
        raise UserError(f"{spec.name}: exclude: no cell is left")
    order = {kind: i for i, kind in enumerate(KINDS)}
    by_kind = sorted(stages.values(), key=lambda s: order[s.kind])  # stable: grid order within a kind
    return Plan(
        grid=spec,
        dtype=dtype,
        sources=sources,
        stages={s.key: s for s in by_kind},
        cells=tuple(cells.values()),
        naive=naive,
        notes=tuple(_idle_excludes(spec)),
    )


def _combinations(spec: GridSpec) -> Iterator[tuple[str, str, str, int]]:
    for seed in spec.seeds:
        for contaminate in spec.contaminate:
            for name, languages in spec.unlearn.items():
                if SOURCE in languages and contaminate == NONE:
                    continue  # a clean control has no contaminating language to unlearn
                for method in spec.methods if languages else (NONE,):
                    if not _excluded(spec, contaminate=contaminate, unlearn=name, method=method, seed=seed):
                        yield contaminate, name, method, seed


def _excluded(spec: GridSpec, **axes: str | int) -> bool:
    return any(all(axes[axis] == value for axis, value in rule.items()) for rule in spec.exclude)


def _idle_excludes(spec: GridSpec) -> Iterator[str]:
    """Say which rules name something that the grid does not have, so that they exclude nothing."""
    known: dict[str, list[object]] = {
        "contaminate": list(spec.contaminate),
        "unlearn": list(spec.unlearn),
        "method": [*spec.methods, NONE],
        "seed": list(spec.seeds),
    }
    for i, rule in enumerate(spec.exclude):
        for axis, value in rule.items():
            if value not in known[axis]:
                near = nearest(str(value), map(str, known[axis]))
                yield f"{spec.name}: exclude.{i} excludes nothing: the grid has no {axis} {value!r}{near}"
