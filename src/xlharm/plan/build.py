"""From a grid to its plan: cells, and the stages they share."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from xlharm.errors import UserError
from xlharm.plan.sources import Sources
from xlharm.plan.stage import Kind, Stage
from xlharm.spec.grid import NONE, SOURCE, GridSpec

Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A leaf path of the tree.

    Attributes:
        contaminate: a language, or `none` (clean control).
        unlearn: `none`, or languages joined by `+` in the grid's order.
        method: the method's name in the grid, `none` without unlearning.
        model: key of the stage whose adapter is the cell's model.
        lineage: keys of the training stages from the base to the model.
        evaluations: evaluate stage's key for each query language.
    """

    contaminate: str
    unlearn: str
    method: str
    seed: int
    model: str
    lineage: tuple[str, ...]
    evaluations: dict[str, str]

    @property
    def name(self) -> str:
        """`contaminate/unlearn/method/seed`: how the command line calls the cell."""
        return f"{self.contaminate}/{self.unlearn}/{self.method}/{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All stages (parents before children) and cells of a grid."""

    grid: GridSpec
    dtype: Dtype
    sources: Sources
    stages: dict[str, Stage]
    cells: tuple[Cell, ...]
    naive: dict[Kind, int]

    def children(self) -> dict[str, tuple[str, ...]]:
        """Return the keys of each stage's children."""
        found: dict[str, list[str]] = {key: [] for key in self.stages}
        for stage in self.stages.values():
            for parent in stage.inputs:
                found[parent].append(stage.key)
        return {key: tuple(keys) for key, keys in found.items()}

    def cell(self, name: str) -> Cell:
        """Find a cell by name; parts left out match anything when only one cell fits.

        Raises:
            UserError: no cell, or several.
        """
        wanted = name.split("/")
        hits = [c for c in self.cells if c.name.split("/")[: len(wanted)] == wanted]
        if len(hits) == 1:
            return hits[0]
        names = ", ".join(c.name for c in (hits or self.cells)[:12])
        problem = "no such cell" if not hits else "several cells fit"
        raise UserError(f"{name}: {problem}; cells are contaminate/unlearn/method/seed: {names}")


def build(spec: GridSpec, *, sources: Sources, dtype: Dtype) -> Plan:
    """Enumerate a grid's cells and merge the stages they share.

    Raises:
        UserError: nothing is left after excludes, or the base's name of an exclude is unknown.
    """
    stages: dict[str, Stage] = {}
    naive: dict[Kind, int] = {"contaminate": 0, "sft": 0, "unlearn": 0, "evaluate": 0}
    cells: dict[str, Cell] = {}
    _check_excludes(spec)
    for contaminate, names, method, seed in _combinations(spec):
        languages = tuple(contaminate if x == SOURCE else x for x in spec.unlearn[names])
        languages = spec.ordered(tuple(dict.fromkeys(languages)))
        builder = _CellBuilder(spec=spec, sources=sources, dtype=dtype, contaminate=contaminate, seed=seed)
        cell, lineage = builder.cell(languages=languages, method=method)
        if cell.name in cells:  # `source` resolved to a set that is in the grid by another name
            continue
        cells[cell.name] = cell
        for stage in lineage:
            naive[stage.kind] += 1
            stages.setdefault(stage.key, stage)
    if not cells:
        raise UserError(f"{spec.name}: exclude: no cell is left")
    order: tuple[Kind, ...] = ("contaminate", "sft", "unlearn", "evaluate")
    ordered = sorted(stages.values(), key=lambda s: order.index(s.kind))  # stable: grid order within a kind
    return Plan(
        grid=spec,
        dtype=dtype,
        sources=sources,
        stages={s.key: s for s in ordered},
        cells=tuple(cells.values()),
        naive=naive,
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


def _check_excludes(spec: GridSpec) -> None:
    known: dict[str, list[object]] = {
        "contaminate": list(spec.contaminate),
        "unlearn": list(spec.unlearn),
        "method": [*spec.methods, NONE],
        "seed": list(spec.seeds),
    }
    for i, rule in enumerate(spec.exclude):
        for axis, value in rule.items():
            if value not in known[axis]:
                choices = ", ".join(map(str, known[axis]))
                raise UserError(f"{spec.name}: exclude.{i}.{axis}: {value!r} is not in the grid ({choices})")


@dataclass(frozen=True, kw_only=True)
class _CellBuilder:
    """Builds the stages of one (contaminate, seed) branch."""

    spec: GridSpec
    sources: Sources
    dtype: Dtype
    contaminate: str
    seed: int

    def cell(self, *, languages: tuple[str, ...], method: str) -> tuple[Cell, list[Stage]]:
        lineage = [self._contaminate()]
        if self.spec.stages.sft is not None:
            lineage.append(self._sft(lineage[-1]))
        if languages:
            lineage.append(self._unlearn(lineage[-1], languages=languages, method=method))
        model = lineage[-1]
        evaluations = {q: self._evaluate(model, query=q) for q in self.spec.languages}
        cell = Cell(
            contaminate=self.contaminate,
            unlearn="+".join(languages) if languages else NONE,
            method=method,
            seed=self.seed,
            model=model.key,
            lineage=tuple(s.key for s in lineage),
            evaluations={q: s.key for q, s in evaluations.items()},
        )
        return cell, [*lineage, *evaluations.values()]

    def _resolved(self, languages: tuple[str, ...]) -> tuple[str, ...]:
        """Put the contaminating language for `source`; a clean control has none."""
        named = [self.contaminate if x == SOURCE else x for x in languages]
        return self.spec.ordered(tuple(dict.fromkeys(x for x in named if x != NONE)))

    def _stage(
        self, kind: Kind, *, parent: Stage | None, languages: tuple[str, ...], label: str, **fields: Any
    ) -> Stage:
        digests = self.sources.corpus.digests
        common = {"dtype": self.dtype, "lora": _dump(self.spec.lora), "prompt": _dump(self.spec.prompt)}
        return Stage(
            kind=kind,
            spec={**common, **fields},
            inputs=(parent.key,) if parent else (),
            data={lang: digests[lang] for lang in sorted(set(languages))},
            base=self.sources.base.digest,
            label=label,
        )

    def _contaminate(self) -> Stage:
        settings = self.spec.stages.contaminate
        training = _dump(settings)
        real = self._resolved(settings.real_languages)
        if not real:
            real = (self.spec.languages[0],)  # a clean control of a grid whose real articles follow the fake ones
        fake = None if self.contaminate == NONE else self.contaminate
        if fake is None:
            training.pop("fake_share")
        return self._stage(
            "contaminate",
            parent=None,
            languages=(*real, *([fake] if fake else [])),
            label=f"contaminate {self.contaminate} seed {self.seed}",
            fake_language=fake,
            training={**training, "real_languages": list(real)},
            seed=self.seed,
        )

    def _sft(self, parent: Stage) -> Stage:
        assert self.spec.stages.sft is not None
        training = _dump(self.spec.stages.sft)
        languages = self._resolved(self.spec.stages.sft.languages) or (self.spec.languages[0],)
        return self._stage(
            "sft",
            parent=parent,
            languages=languages,
            label=f"sft {self.contaminate} seed {self.seed}",
            training={**training, "languages": list(languages)},
            seed=self.seed,
        )

    def _unlearn(self, parent: Stage, *, languages: tuple[str, ...], method: str) -> Stage:
        return self._stage(
            "unlearn",
            parent=parent,
            languages=languages,
            label=f"unlearn {self.contaminate} -> {'+'.join(languages)} {method} seed {self.seed}",
            training=_dump(self.spec.methods[method]),
            languages_unlearned=list(languages),
            seed=self.seed,
        )

    def _evaluate(self, model: Stage, *, query: str) -> Stage:
        return self._stage(
            "evaluate",
            parent=model,
            languages=(query,),
            label=f"evaluate {query} of {model.label}",
            query=query,
            **_dump(self.spec.evaluate),
        )


def _dump(model: Any) -> dict[str, Any]:
    return dict(model.model_dump(mode="json"))
