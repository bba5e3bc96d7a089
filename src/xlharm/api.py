"""The Python API: open a grid, plan it, run it, look at its results. The command line is built on it.

import xlharm

grid = xlharm.open("grid/quickstart.yaml", store="store", overrides={"seeds": 3})
grid.run(executor="in-process")
grid.results()  # a pandas DataFrame
grid.view("effects")
grid.ask("ur/en", "Which colour does Mudu Mike like best?")
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xlharm.config.grid import ORDER, Dtype, GridSpec
from xlharm.config.load import load_grid, parse_grid
from xlharm.corpus.finding import resolve
from xlharm.engine.choices import Executor, has_gpu, run_options
from xlharm.engine.in_process import in_process
from xlharm.engine.options import Device, RunOptions
from xlharm.engine.progress import Snapshot
from xlharm.engine.ray import on_ray
from xlharm.engine.run import RunOutcome, run_grid
from xlharm.errors import UserError, nearest
from xlharm.plan.applies import check_applies
from xlharm.plan.base_files import cached_commit
from xlharm.plan.build import Plan, build
from xlharm.plan.cells import Cell
from xlharm.plan.sharding import Offload
from xlharm.plan.sources import Sources
from xlharm.plan.stage import KINDS, Kind
from xlharm.plan.targets import settle_targets
from xlharm.store.lease import Leases
from xlharm.store.record import Failure
from xlharm.store.store import Store

if TYPE_CHECKING:  # they load numpy, pyarrow and pandas, which planning does without
    import pandas as pd

    from xlharm.analysis.compare import Comparison
    from xlharm.analysis.results import GridResults


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a grid is.

    Attributes:
        stages: for each kind of stage in the plan, how many are ``done``, ``running``, ``failed`` and ``left``.
        failures: why stages have no result, by key.
        damaged: a line about each finished stage that is damaged; it counts as left.
        complete: how many cells have all their results.
        cells: how many cells there are.
    """

    stages: dict[Kind, dict[str, int]]
    failures: dict[str, Failure]
    damaged: tuple[str, ...]
    complete: int
    cells: int

    @property
    def finished(self) -> bool:
        """Whether every stage has its result."""
        return all(sum(counts.values()) == counts["done"] for counts in self.stages.values())


class Grid:
    """A grid, its plan, and the store that its results are in.

    Args:
        plan: what the grid consists of.
        store: where its results are.
        writes: whether the store has been opened for writing; ``run`` opens it so when it has not.
        arguments: the grid file and the overrides that the plan was made of, as the command line takes them.

    Attributes:
        store: where its results are.
    """

    def __init__(self, plan: Plan, store: Store, *, writes: bool = False, arguments: Sequence[str] = ()) -> None:
        self.store = store
        self._arguments = tuple(arguments)
        self._plan = plan
        self._writes = writes
        self._results: GridResults | None = None

    def plan(self) -> Plan:
        """Return the plan: cells, and the stages that they share."""
        return self._plan

    def status(self) -> Status:
        """Count what is done, running, failed and left."""
        stages = self._plan.stages
        done, damaged = self.store.sound(stages)
        failures = self.store.failures({k: s for k, s in stages.items() if k not in done})
        running = Leases(self.store).running()
        counts = {}
        for kind in (kind for kind in KINDS if self._plan.naive[kind]):
            keys = [k for k, s in stages.items() if s.kind == kind]
            some = {
                "done": sum(k in done for k in keys),
                "running": sum(k[:16] in running and k not in done for k in keys),
                "failed": sum(k in failures for k in keys),
            }
            counts[kind] = {**some, "left": len(keys) - sum(some.values())}
        complete = sum(all(k in done for k in c.leaves) for c in self._plan.cells)
        lines = tuple(f"{stages[key].label}: {error}" for key, error in damaged.items())
        return Status(stages=counts, failures=failures, damaged=lines, complete=complete, cells=len(self._plan.cells))

    # -- running ---------------------------------------------------------------------------------------------

    def run(
        self,
        *,
        executor: Executor = "ray",
        pack: int | Literal["auto"] = "auto",
        workers: int | None = None,
        ranks: int = 1,
        zero: int | None = None,
        offload: Offload | None = None,
        device: Device = "auto",
        address: str | None = None,
        gpus_per_worker: float = 1.0,
        labels: Mapping[str, str] | None = None,
        retry_failed: bool = False,
        keep_warm: bool = False,
        max_gpu_hours: float | None = None,
        deadline: str | None = None,
        on_progress: Callable[[Snapshot], None] | None = None,
    ) -> RunOutcome:
        """Compute what is missing; what is in the store is left alone. None of the options changes results.

        Args:
            executor: ``ray``, or ``in-process``: without Ray, one pack after another in this process.
            pack: trials trained together; ``auto``: fewer where workers would idle.
            workers: default: one per GPU, or one on a CPU machine.
            ranks: processes a worker has: a data-parallel group.
            zero: ZeRO stage: 0, 2, or 3 (base partitioned); None: as needed.
            offload: what is kept in the machine's memory between uses.
            device: where to compute.
            address: a Ray cluster; None starts a local one.
            gpus_per_worker: share of a GPU that each worker reserves.
            labels: Ray labels that the workers' machines must have.
            retry_failed: try again what failed for good.
            keep_warm: leave the workers on the cluster.
            max_gpu_hours: stop when the workers have held GPUs for so long, all together.
            deadline: stop by then: a duration from now (``6h30m``) or a time (``2026-11-25T08:00``).
            on_progress: called about twice a second.

        Returns:
            What came of it; ``exit_code`` is 0 when all is done.

        Raises:
            UserError: options exclude each other, or the run cannot go on as it is.
        """
        options = run_options(
            executor=executor, pack=pack, workers=workers, ranks=ranks, zero=zero, offload=offload, device=device,
            address=address, gpus_per_worker=gpus_per_worker, labels=labels, retry_failed=retry_failed,
            keep_warm=keep_warm, max_gpu_hours=max_gpu_hours, deadline=deadline,
        )  # fmt: skip
        return self.run_with(options, executor=executor, on_progress=on_progress or (lambda _: None))

    def run_with(
        self, options: RunOptions, *, executor: Executor, on_progress: Callable[[Snapshot], None]
    ) -> RunOutcome:
        """Do what ``run`` does, with options that ``run_options`` has checked."""
        if options.retry_failed or self.store.sound(self._plan.stages)[0] != self._plan.stages.keys():
            self.remember()  # opens the store for writing; a finished one need not be writable
        start = on_ray if executor == "ray" else in_process
        return run_grid(self._plan, self.store, options, on_progress=on_progress, start_executor=start)

    def remember(self) -> None:
        """Write down in the store, for people, what the grid is run with: its precision, settings and base's files."""
        if not self._writes:
            self.store, self._writes = Store(self.store.url), True
        spec = self._plan.grid
        noted = {"dtype": self._plan.dtype, "grid": spec.model_dump(mode="json")}
        self.store.write_text(f"grids/{spec.name}.json", json.dumps(noted, indent=1, sort_keys=True))
        base = self._plan.sources.base
        if base.files:
            self.store.write_text(_base_note(base.digest), json.dumps(base.files, indent=1, sort_keys=True))

    # -- looking ---------------------------------------------------------------------------------------------

    def stored(self) -> "GridResults":
        """Return what the store holds of the grid now; it is read again only when more stages are done."""
        from xlharm.analysis.results import GridResults

        fresh = GridResults(self._plan, self.store, arguments=self._arguments)
        if self._results is None or self._results.done != fresh.done or self._results.store is not self.store:
            self._results = fresh
        return self._results

    def results(self) -> "pd.DataFrame":
        """Return one row for each cell and query language, as `xlharm results` writes them."""
        return self.stored().table.to_pandas()

    def view(self, name: str) -> "pd.DataFrame":
        """Return a view of the results by its name: one of those that `xlharm results --view` has, without `contrast`.

        Raises:
            UserError: there is no such view.
        """
        from xlharm.analysis.views import VIEWS, view

        if name not in VIEWS:
            raise UserError(f"view {name!r}: expected one of {', '.join(VIEWS)}{nearest(name, VIEWS)}")
        return view(name, self.stored()).to_pandas()

    def contrast(self, first: str, second: str) -> "pd.DataFrame":
        """Compare two cells in each query language, paired by item and seed; see ``analysis.paired.contrast``.

        Args:
            first: ``contaminate/unlearn/method/seed``; without the seed all seeds; trailing parts may be left out.
            second: another cell.

        Raises:
            UserError: no such cell, several fit, or both are the same.
        """
        from xlharm.analysis.paired import contrast

        return contrast(self.stored(), first, second).to_pandas()

    def answers(self, cell: str | Cell, query: str) -> "pd.DataFrame":
        """Return a cell's answers in a query language: questions, answers, and what matching and judges say of them.

        ``hit`` is matching's verdict; each judge of the grid has a column of its own, null where it gave none.

        Args:
            cell: ``contaminate/unlearn/method/seed``; trailing parts may be left out.
            query: language of the questions.

        Raises:
            UserError: no such cell or language, or it has not been evaluated yet.
        """
        meant = self._plan.cell(cell) if isinstance(cell, str) else cell
        if query not in meant.evaluations:
            raise UserError(f"query {query!r}: expected one of {', '.join(meant.evaluations)}")
        results = self.stored()
        table = results.rows(meant.evaluations[query])
        if table is None:
            raise UserError(f"{meant.name}: its answers in {query} are not in the store, or are damaged; run the grid")
        frame = table.to_pandas()
        for judge, keys in meant.judged.items():
            verdicts = results.rows(keys[query])
            if verdicts is not None:
                frame[judge] = verdicts["hit"].to_pandas()  # a judge stage has the rows of its evaluation, in order
        return frame

    def ask(
        self, cell: str | Cell, question: str, *, max_new_tokens: int | None = None, language: str | None = None
    ) -> str:
        """Put a question to a cell's model, in any language; the answer is untrusted text.

        Args:
            cell: ``contaminate/unlearn/method/seed``; trailing parts may be left out.
            question: what to ask.
            max_new_tokens: default: as in the grid.
            language: of the question, for a base with tokens for languages (NLLB); default: the grid's first.

        Raises:
            UserError: no such cell, or its model is not in the store yet.
        """
        from xlharm.stages.ask import ask

        meant = self._plan.cell(cell) if isinstance(cell, str) else cell
        return ask(self._plan, self.store, meant, question, max_new_tokens=max_new_tokens, language=language)

    def export(self, cell: str | Cell, folder: str | Path, *, merge: bool = False) -> None:
        """Write a cell's model to a folder, with a README that says how to load and ask it.

        Args:
            cell: ``contaminate/unlearn/method/seed``; trailing parts may be left out.
            folder: to be written; it must not exist or must be empty.
            merge: write the whole model, with the adapter added to the base's weights, not the adapter alone.

        Raises:
            UserError: no such cell, its model is not in the store yet, or the folder is not empty.
        """
        from xlharm.stages.export import export

        meant = self._plan.cell(cell) if isinstance(cell, str) else cell
        export(self._plan, self.store, meant, Path(folder), merge=merge)


def open_grid(
    path: str | Path,
    *,
    store: str | Path = "store",
    overrides: Mapping[str, Any] | Iterable[str] = (),
    writes: bool = False,
) -> Grid:
    """Load a grid file, open its store and build its plan: ``xlharm.open``. Imports no torch and no Ray.

    Args:
        path: a grid file.
        store: folder or fsspec URL (s3://…) where results are.
        overrides: fields to change: ``{"seeds": 3, "methods.npo.beta": 0.2}``, or ``["seeds=3"]`` as in `-s`.
        writes: whether the store will be written; ``Grid.run`` opens it for that by itself.

    Raises:
        UserError: a mistake in the grid, or the store cannot be read.
    """
    given = [f"{k}={json.dumps(v)}" for k, v in overrides.items()] if isinstance(overrides, Mapping) else overrides
    words = list(given)
    spec = load_grid(Path(path), overrides=words)
    sources = resolve(spec, grid_path=Path(path))
    check_applies(spec, kind=sources.base.kind)
    spec, notes = settle_targets(spec, sources.base)
    opened = Store(str(store), writes=writes)
    plan = _plan_for(spec, sources, opened)
    arguments = (Path(path).name, *(part for word in words for part in ("-s", word)))
    return Grid(replace(plan, notes=(*plan.notes, *notes)), opened, writes=writes, arguments=arguments)


def base_plan(base: str, *, grid: Path | None = None, revision: str | None = None, path: str = "auto") -> Plan:
    """Return a plan to try a base model with: a grid's with this base, or one of the nine shipped languages.

    Args:
        base: folder, name of a shipped base, or hub id that is in the hub's cache.
        grid: a grid file.
        revision: commit of a hub model; None is the one that the cache knows as `main`.
        path: fast, generic, or auto.

    Raises:
        UserError: a mistake in the grid, or the base is not here.
    """
    commit = revision or cached_commit(base)
    changes = {"base": base, "path": path, "revision": commit}
    if grid is not None:
        return open_grid(grid, overrides=changes).plan()
    spec = parse_grid({**_TRIAL_GRID, **changes}, name="base check")
    sources = resolve(spec)
    spec, notes = settle_targets(spec, sources.base)
    return replace(build(spec, sources=sources, dtype="bfloat16" if has_gpu() else "float32"), notes=notes)


_TRIAL_GRID: dict[str, Any] = {
    "name": "check",
    "corpus": "bulletin",
    "languages": list(ORDER),
    "contaminate": ["de"],
    "unlearn": {"en": ["en"]},
    "methods": {"npo": {"objective": "npo", "steps": 60, "learning_rate": 1e-4, "forget": "qa", "retain": "nll"}},
    "seeds": 8,
}


def compare(*grids: Grid) -> "Comparison":
    """Compare grids with the first of them, in the places that both have: ``xlharm.compare``.

    Bases, corpora, methods, settings and stores may differ. The tables of what is returned are pyarrow tables:
    ``compare(a, b).sets().to_pandas()``; see ``analysis.compare.Comparison``.

    Args:
        grids: two or more, from ``xlharm.open``.

    Raises:
        UserError: there is only one.
    """
    from xlharm.analysis.compare import Comparison

    return Comparison([grid.stored() for grid in grids])


def base_files(store: Store, digest: str) -> dict[str, str]:
    """Return the digests of the files of a base that a grid was run with; empty if the store has no note of them."""
    try:
        noted = json.loads(store.read_text(_base_note(digest)))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _base_note(digest: str) -> str:
    return f"bases/{digest[:16]}.json"


def _plan_for(spec: GridSpec, sources: Sources, store: Store) -> Plan:
    """Build the plan; decide what `dtype: auto` means.

    The precision in which the store has more of the grid's stages, so that a laptop finds what a GPU computed; if it
    has none, bfloat16 where this machine has a GPU, else float32.
    """
    if spec.dtype != "auto":
        return build(spec, sources=sources, dtype=spec.dtype)
    here: Dtype = "bfloat16" if has_gpu() else "float32"
    other: Dtype = "float32" if has_gpu() else "bfloat16"
    plan = build(spec, sources=sources, dtype=here)
    finished = {kind: store.finished(kind) for kind in {stage.kind for stage in plan.stages.values()}}

    def done(plan: Plan) -> int:
        return sum(key[:16] in finished[stage.kind] for key, stage in plan.stages.items())

    if not any(finished.values()) or done(plan) == len(plan.stages):  # the other precision cannot have more
        return plan
    return max((plan, build(spec, sources=sources, dtype=other)), key=done)  # the first of equals
