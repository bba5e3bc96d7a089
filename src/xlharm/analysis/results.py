"""A grid's results: each record is read once and each file is verified once, whatever is shown of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

from xlharm.analysis.counted import ROWS, Counted, file_status, notes, remember, remembered, write_notes
from xlharm.analysis.items import ItemRates
from xlharm.analysis.reading import Rate, Reading, Readings
from xlharm.analysis.table import CHOICES, SCHEMA, percentage, row_of
from xlharm.errors import CorruptArtifactError
from xlharm.parallel import side_by_side
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.plan.stage import Kind
from xlharm.store.record import Failure, Record
from xlharm.store.store import Store

_ROWS: dict[Kind, str] = {
    "evaluate": ROWS, "inspect": "inside.parquet", "score": "scores.parquet", "judge": "verdicts.parquet",
}  # fmt: skip
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class _Evaluated:
    """The evaluations that are done, read and counted."""

    table: pa.Table
    readings: Readings
    damaged: tuple[str, ...]
    records: dict[str, Record]


class GridResults:
    """What a store holds of a plan, as it was when each part was first asked for.

    Everything is read and computed on demand, once; make a new object to see what a running grid has added.

    Args:
        plan: the grid.
        store: where its results are.
        arguments: what `xlharm run` computes the grid with: its file and overrides.
    """

    def __init__(self, plan: Plan, store: Store, *, arguments: Sequence[str] = ()) -> None:
        self.arguments = tuple(arguments) or (f"{plan.grid.name}.yaml",)
        self.plan = plan
        self.store = store
        self._records: dict[str, Record | CorruptArtifactError] = {}
        self._folders: dict[str, Path | CorruptArtifactError] = {}
        self._rates: dict[str, ItemRates | None] = {}
        self._computed: dict[Callable[..., Any], Any] = {}

    # -- what is stored --------------------------------------------------------------------------------------

    @cached_property
    def done(self) -> set[str]:
        """Keys of the plan's finished stages."""
        return self.store.done(self.plan.stages)

    @cached_property
    def failures(self) -> dict[str, Failure]:
        """Why stages without a result have failed, by key."""
        return self.store.failures({k: s for k, s in self.plan.stages.items() if k not in self.done})

    def why_missing(self, cell: Cell, query: str) -> str:
        """Say which failed stage keeps a cell from its result in a query language; "" when none did."""
        keys = (*cell.lineage, cell.evaluations[query])
        failed = (self.failures[key] for key in keys if key in self.failures)
        return next((f"{failure.label} failed: {failure.reason}" for failure in failed), "")

    def record(self, key: str) -> Record:
        """Return the record of a finished stage.

        Raises:
            CorruptArtifactError: it is unreadable.
        """
        return _kept(self._records, key, lambda: self.store.record(self.plan.stages[key].kind, key))

    def metrics(self, key: str) -> dict[str, Any]:
        """Return the numbers in a finished stage's record; none when it is missing or unreadable."""
        try:
            return self.record(key).metrics if key in self.done else {}
        except CorruptArtifactError:
            return {}

    def folder(self, key: str) -> Path:
        """Return a local folder with a finished stage's files, which match their checksums.

        Raises:
            CorruptArtifactError: the record is unreadable, or a file does not match its checksum.
        """
        return _kept(self._folders, key, lambda: self.store.folder_of(self.record(key)))

    def rows(self, key: str, *, columns: Sequence[str] | None = None) -> pa.Table | None:
        """Read the rows of a finished stage that measures or judges; None when they are missing or damaged.

        Tables are not kept, because the answers of a large grid do not fit into memory.

        Args:
            key: of the stage.
            columns: which to read; default: all.
        """
        try:
            return self._read(key, columns=columns) if key in self.done else None
        except CorruptArtifactError:
            return None

    def _read(self, key: str, *, columns: Sequence[str] | None) -> pa.Table | None:
        """Read the rows of a finished stage; None when its file is no table or was removed meanwhile.

        Raises:
            CorruptArtifactError: the record is unreadable, or the file does not match its checksum.
        """
        try:
            # one file at a time: the reader of data sets takes four times as long to open it
            file = pq.ParquetFile(pa.BufferReader(self._content(key)), pre_buffer=False)
            return file.read(columns=columns, use_threads=False)
        except (FileNotFoundError, ValueError):
            return None

    def _content(self, key: str) -> bytes:
        """Return the content of a finished stage's table, which matched its checksum when it was first read.

        Raises:
            CorruptArtifactError: the record is unreadable, or the file does not match its checksum.
            FileNotFoundError: it was removed meanwhile.
        """
        kind = self.plan.stages[key].kind
        name = _ROWS[kind]
        if self.store.remote or key in self._folders or len(self.record(key).files) > 1:
            path = self.folder(key) / name
            return self.store.patiently(lambda: self.store.disk.read(path), f"stages/{kind}/{key[:16]}/{name}")
        first: list[bytes] = []  # it is compared as it is read, so that it is not read twice

        def compared() -> Path:
            first.append(self.store.content(self.record(key), name))
            return self.store.local / "stages" / kind / key[:16]

        _kept(self._folders, key, compared)
        return first[0]

    # -- the results table -----------------------------------------------------------------------------------

    @property
    def table(self) -> pa.Table:
        """The results, one row per cell × query language in the grid's order, as far as the grid is done.

        ``of`` and ``qr`` with their 95 % bounds, whose unit is the item, and the ``off_language`` and ``degenerate``
        rates are percentages (0–100, two decimals), ``rouge_l`` (0–1) and ``chrf`` (0–100) means over the QR answers; a
        measure without questions is null, and so is ``off_language`` where it cannot be judged. ``n`` counts the OF
        questions and ``items`` the items they are about, ``n_qr`` and ``items_qr`` those of QR. Evaluations that are
        missing or damaged are left out. The table of a masked base has a column ``measure``; see ``table.CHOICES``.
        """
        return self._evaluated.table

    @property
    def damaged(self) -> tuple[str, ...]:
        """One line for each evaluation that is in the store but cannot be trusted."""
        return self._evaluated.damaged

    @property
    def records(self) -> dict[str, Record]:
        """The records of the evaluations in the table, by stage key."""
        return self._evaluated.records

    @property
    def readings(self) -> Readings:
        """The table's rows by cell and query language, not rounded."""
        return self._evaluated.readings

    @cached_property
    def _evaluated(self) -> _Evaluated:
        rows: list[dict[str, Any]] = []
        readings: list[Reading] = []
        damaged: list[str] = []
        records: dict[str, Record] = {}
        evaluations = [
            (cell, query, key)
            for cell in self.plan.cells
            for query, key in cell.evaluations.items()
            if key in self.done
        ]
        known = remembered(self.store, (key for _, _, key in evaluations))
        self._folders |= {key: self.store.local / "stages" / "evaluate" / key[:16] for key in known}  # compared before
        unread = dict.fromkeys(key for _, _, key in evaluations if key not in known)
        reads = side_by_side([partial(self._sound, key) for key in unread])
        counted: dict[str, Counted | str] = {**known, **dict(zip(unread, reads, strict=True))}
        for cell, query, key in evaluations:
            sound = counted[key]
            if isinstance(sound, str):
                damaged.append(f"{cell.name} in {query}: {sound}")
                continue
            record, rates = sound.record, sound.rates
            try:
                reading = _reading(cell, query, rates=rates, metrics=record.metrics)
                rows.append(row_of(reading, grid=self.plan.grid.name, cell=cell.name, metrics=record.metrics))
            except (AttributeError, KeyError, TypeError, ValueError):
                damaged.append(f"{cell.name} in {query}: the record of {key[:16]} holds no counts of hits")
            else:
                self._rates[key] = rates
                readings.append(reading)
                records[key] = self._records[key] = record
        sound_ones = {key: one for key in records if isinstance(one := counted[key], Counted)}
        remember(self.store, sound_ones, new=sum(key not in known for key in records))
        return _Evaluated(
            table=pa.Table.from_pylist(rows, schema=CHOICES if self.plan.sources.base.kind == "masked" else SCHEMA),
            readings=Readings.of(readings, seeds=self.plan.grid.seeds),
            damaged=tuple(damaged),
            records=records,
        )

    def _sound(self, key: str) -> Counted | str:
        """Return an evaluation whose files match their checksums, or what is wrong with it."""
        file = file_status(self.store, key)  # before they are compared: what changes later is read again
        try:
            rates = self._counted(key)
            if rates is None:
                return f"the rows of {key[:16]} cannot be read"
            return Counted(record=self.record(key), rates=rates, file=file)
        except CorruptArtifactError as error:
            return " ".join(str(error).split())

    # -- answers ---------------------------------------------------------------------------------------------

    def rates(self, key: str) -> ItemRates | None:
        """Return a finished stage's hits, item by item; None when it is missing or damaged."""
        if key not in self._rates:
            try:
                self._rates[key] = self._counted(key)
            except CorruptArtifactError:
                self._rates[key] = None
        return self._rates[key]

    def rates_of(self, cell: Cell, query: str) -> ItemRates | None:
        """Return a cell's hits in a query language, item by item."""
        return self.rates(cell.evaluations[query])

    def _counted(self, key: str) -> ItemRates | None:
        table = self._read(key, columns=("measure", "item", "hit")) if key in self.done else None
        try:
            return None if table is None else ItemRates.of_rows(table)
        except (KeyError, TypeError, ValueError):
            return None

    def noted(self, name: str, *, version: str, compute: Callable[[str], _T]) -> dict[str, _T]:
        """Return what a view computes from the answers of each evaluation in the table, by stage key.

        It is computed once on this machine, as long as the answers and the version are the same.

        Args:
            name: of the view.
            version: changes with everything but the answers that the values depend on.
            compute: returns the value of a stage key, which JSON can write.
        """
        known = notes(self.store, name, version=version)
        answers = {key: (key, record.files[ROWS].sha256) for key, record in self.records.items()}
        values = {place: known[place] if place in known else compute(place[0]) for place in answers.values()}
        write_notes(self.store, name, version=version, values=values, new=len(values.keys() - known.keys()))
        return {key: values[place] for key, place in answers.items()}

    # -- models before and after unlearning ------------------------------------------------------------------

    @cached_property
    def _before_unlearning(self) -> dict[tuple[str, int], Cell]:
        cells: dict[tuple[str, int], Cell] = {}
        for cell in self.plan.cells:
            if cell.unlearn == "none":
                cells.setdefault((cell.contaminate, cell.seed), cell)
        return cells

    def before(self, cell: Cell) -> Cell | None:
        """Return the cell that is the same model before unlearning; None for itself, or when the grid has none."""
        return None if cell.unlearn == "none" else self._before_unlearning.get((cell.contaminate, cell.seed))

    def control(self, seed: int) -> Cell | None:
        """Return the clean control of a seed: trained alike, without the fake articles."""
        return self._before_unlearning.get(("none", seed))

    def pairs(self) -> Iterator[tuple[Cell, Cell]]:
        """Yield every cell that has unlearned with its model before."""
        for cell in self.plan.cells:
            before = self.before(cell)
            if before is not None:
                yield before, cell

    # -- what is computed from them --------------------------------------------------------------------------

    def computed(self, name: Callable[..., Any], compute: Callable[[], _T]) -> _T:
        """Return ``compute()``, computed at most once under this name; see ``once``."""
        if name not in self._computed:
            self._computed[name] = compute()
        return cast("_T", self._computed[name])


def _reading(cell: Cell, query: str, *, rates: ItemRates, metrics: dict[str, Any]) -> Reading:
    """Read one evaluation; an error of many kinds where its record holds no counts, or others than its rows."""
    for measure, counted in (("of", rates.of), ("qr", rates.qr)):
        if (metrics[measure]["hits"], metrics[measure]["n"]) != (counted.hits.sum(), counted.questions.sum()):
            raise ValueError(f"{measure}: the record's counts are not those of the rows")
    return Reading(
        contaminate=cell.contaminate,
        unlearn=cell.unlearn,
        method=cell.method,
        seed=cell.seed,
        query=query,
        of=Rate.of_hits(rates.of),
        qr=Rate.of_hits(rates.qr),
        off_language=percentage(metrics["off_language"]),
        degenerate=percentage(metrics["degenerate"]),
    )


def once(compute: Callable[[GridResults], _T]) -> Callable[[GridResults], _T]:
    """Decorate a function of a grid's results: its value is computed once and kept with them.

    Callers share the value, so it must not be changed.
    """

    @wraps(compute)
    def kept(results: GridResults) -> _T:
        return results.computed(compute, lambda: compute(results))

    return kept


def _kept(values: dict[str, _T | CorruptArtifactError], key: str, read: Callable[[], _T]) -> _T:
    """Return what was read of a stage; damage is kept, too, and raised again."""
    if key not in values:
        try:
            values[key] = read()
        except CorruptArtifactError as error:
            values[key] = error
    value = values[key]
    if isinstance(value, CorruptArtifactError):
        raise value
    return value
