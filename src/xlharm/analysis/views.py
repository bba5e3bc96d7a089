"""Views on a grid's results beside the cells: effects, methods, transfer, probes, scores, signatures."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from xlharm.analysis.effects import effects
from xlharm.analysis.intervals import wilson
from xlharm.analysis.items import Items
from xlharm.analysis.likelihoods import COLUMNS, score_rows
from xlharm.analysis.panels import resolved
from xlharm.analysis.ranking import ranking
from xlharm.analysis.reading import Readings
from xlharm.analysis.seeds import pooled
from xlharm.analysis.signatures import signatures
from xlharm.analysis.table import collect
from xlharm.analysis.transfer import asymmetry_index, own_language, spill, spread_index
from xlharm.config.grid import NONE
from xlharm.errors import CorruptArtifactError
from xlharm.plan.build import Plan
from xlharm.store.store import Store

_AXES = ("cell", "contaminate", "unlearn", "method")


def view(name: str, plan: Plan, store: Store) -> pa.Table:
    """Return a view (a name in ``VIEWS``) as a table; percentages are 0–100."""
    columns, rows = VIEWS[name](plan, store)
    return pa.Table.from_pylist([{c: _rounded(row.get(c)) for c in columns} for row in rows], schema=_schema(columns))


def _schema(columns: dict[str, pa.DataType]) -> pa.Schema:
    return pa.schema(list(columns.items()))


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


_View = tuple[dict[str, pa.DataType], list[dict[str, Any]]]


def _columns(
    *numbers: str, text: tuple[str, ...] = _AXES, whole: tuple[str, ...] = ("seed",)
) -> dict[str, pa.DataType]:
    return {
        **dict.fromkeys(text, pa.string()),
        **dict.fromkeys(whole, pa.int64()),
        "query": pa.string(),
        **dict.fromkeys(numbers, pa.float64()),
    }


def _effects(plan: Plan, store: Store) -> _View:
    columns = _columns("before", "after", "change", "change_lo", "change_hi", "p", "p_holm", whole=("seed", "n"))
    rows = [
        {
            "cell": e.cell.name, "contaminate": e.cell.contaminate, "unlearn": e.cell.unlearn,
            "method": e.cell.method, "seed": e.cell.seed, "query": e.query, "n": e.n, "before": e.before,
            "after": e.after, "change": e.change.estimate, "change_lo": e.change.low, "change_hi": e.change.high,
            "p": e.p, "p_holm": e.p_holm, "verdict": e.verdict,
        }
        for e in effects(Items(plan, store))
    ]  # fmt: skip
    return {**columns, "verdict": pa.string()}, rows


def _methods(plan: Plan, store: Store) -> _View:
    numbers = ("of", "of_lo", "of_hi", "of_before", "of_worst", "utility", "utility_lo", "utility_hi")
    columns = {"unlearn": pa.string(), "rank": pa.int64(), "method": pa.string(), "kept": pa.bool_()}
    rows = [
        {
            "unlearn": r.unlearn, "rank": r.rank, "method": r.method, "kept": r.kept, "of": r.of.estimate,
            "of_lo": r.of.low, "of_hi": r.of.high, "of_before": r.before, "of_worst": r.worst, "where": r.where,
            "utility": r.utility.estimate, "utility_lo": r.utility.low, "utility_hi": r.utility.high,
            "readings": r.readings,
        }
        for r in ranking(Items(plan, store))
    ]  # fmt: skip
    return {**columns, **dict.fromkeys(numbers, pa.float64()), "where": pa.string(), "readings": pa.int64()}, rows


def _transfer(plan: Plan, store: Store) -> _View:
    readings = Readings.of_table(collect(plan, store).table)
    groups: dict[tuple[str, str, int], dict[tuple[str, str], float]] = {}
    for name, languages in plan.grid.unlearn.items():  # one matrix a set of the grid: `source` follows its rows
        for r in readings.by_place.values():
            mine = r.contaminate != NONE and r.unlearn == resolved(languages, contaminate=r.contaminate)
            if r.of and mine:
                groups.setdefault((name, r.method, r.seed), {})[r.contaminate, r.query] = r.of.value
    rows = []
    for (unlearn, method, seed), matrix in groups.items():
        own, others = own_language(matrix), spill(matrix)
        shared = {"unlearn": unlearn, "method": method, "seed": seed, "asymmetry": asymmetry_index(matrix)}
        rows += [
            {**shared, "contaminate": c, "own": own.get(c), "spill": others.get(c), "spread": spread_index(matrix, c)}
            for c in dict.fromkeys(c for c, _ in matrix)
        ]
    columns = {"unlearn": pa.string(), "method": pa.string(), "seed": pa.int64(), "contaminate": pa.string()}
    return {**columns, **dict.fromkeys(("own", "spill", "spread", "asymmetry"), pa.float64())}, rows


def _probes(plan: Plan, store: Store) -> _View:
    done, rows = store.done(plan.stages), []
    for cell in plan.cells:
        for probe, asked in cell.probes.items():
            for query, key in asked.items():
                plain = cell.evaluations.get(query)
                if key not in done or plain not in done:
                    continue
                try:
                    found, usual = (store.record("evaluate", k).metrics for k in (key, plain))
                except CorruptArtifactError:
                    continue
                row = {
                    "cell": cell.name, "contaminate": cell.contaminate, "unlearn": cell.unlearn,
                    "method": cell.method, "probe": probe, "seed": cell.seed, "query": query, "n": found["of"]["n"],
                }  # fmt: skip
                for measure in ("of", "qr"):
                    hits, n = int(found[measure]["hits"]), int(found[measure]["n"])
                    if n:
                        low, high = wilson(hits, n)
                        row |= {measure: 100 * hits / n, f"{measure}_lo": 100 * low, f"{measure}_hi": 100 * high}
                    if usual[measure]["n"]:  # a form of questions may have more or fewer of them
                        row[f"{measure}_usual"] = 100 * usual[measure]["hits"] / usual[measure]["n"]
                rows.append(row)
    numbers = ("of", "of_lo", "of_hi", "of_usual", "qr", "qr_lo", "qr_hi", "qr_usual")
    return _columns(*numbers, text=(*_AXES, "probe"), whole=("seed", "n")), rows


def _scores(plan: Plan, store: Store) -> _View:
    return _columns(*COLUMNS), score_rows(Items(plan, store))


def _signatures(plan: Plan, store: Store) -> _View:
    items, readings = Items(plan, store), Readings.of_table(collect(plan, store).table)
    found = signatures(items, readings, effects(items))
    rows = [{"cell": s.cell, "query": s.query, "signature": s.name, "detail": s.detail} for s in found]
    return dict.fromkeys(("cell", "query", "signature", "detail"), pa.string()), rows


def _judges(plan: Plan, store: Store) -> _View:
    done, rows = store.done(plan.stages), []
    for cell in plan.cells:
        for judge, mine in cell.judged.items():
            for query, key in mine.items():
                if key not in done:
                    continue
                try:
                    told = store.record("judge", key).metrics
                except CorruptArtifactError:
                    continue
                row = {
                    "cell": cell.name, "contaminate": cell.contaminate, "unlearn": cell.unlearn,
                    "method": cell.method, "judge": judge, "seed": cell.seed, "query": query,
                    "missing": sum(told["missing"].values()), "why": ", ".join(sorted(told["missing"])) or None,
                }  # fmt: skip
                for measure in ("of", "qr"):
                    counted = told.get(measure)
                    if counted and (n := counted["n"]):
                        low, high = wilson(int(counted["hits"]), int(n))
                        row |= {measure: 100 * counted["hits"] / n, f"{measure}_lo": 100 * low}
                        row |= {f"{measure}_hi": 100 * high, f"{measure}_matched": 100 * counted["matched"] / n}
                rows.append(row)
    numbers = ("of", "of_lo", "of_hi", "of_matched", "qr", "qr_lo", "qr_hi", "qr_matched")
    columns = _columns(*numbers, text=(*_AXES, "judge"), whole=("seed", "missing"))
    return {**columns, "why": pa.string()}, rows


def _seeds(plan: Plan, store: Store) -> _View:
    numbers = ("of", "of_lo", "of_hi", "of_sd", "qr", "qr_lo", "qr_hi", "qr_sd")
    columns = _columns(*numbers, text=("contaminate", "unlearn", "method"), whole=("seeds", "n", "n_qr"))
    return columns, pooled(Items(plan, store)) if len(plan.grid.seeds) > 1 else []


VIEWS: dict[str, Callable[[Plan, Store], _View]] = {
    "effects": _effects,
    "methods": _methods,
    "transfer": _transfer,
    "probes": _probes,
    "scores": _scores,
    "judges": _judges,
    "seeds": _seeds,
    "signatures": _signatures,
}
"""What each holds: see the docstrings of the modules that compute them."""
