"""The view `attribution`: which parts of an adapter, and which layers, carry the fake in each language.

Its rows are those of the probes `ablate` (here), `patch` (``analysis.patched``) and `cka` (``analysis.alignment``).
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from xlharm.analysis.alignment import alignment_rows
from xlharm.analysis.charts import Chart, Estimate, Forest
from xlharm.analysis.contrasts import MOST_RATIO, Pair, ratios
from xlharm.analysis.items import Hits
from xlharm.analysis.mean_limits import jackknife
from xlharm.analysis.patched import patched_rows
from xlharm.analysis.results import GridResults
from xlharm.analysis.statistics import Interval
from xlharm.analysis.view import View, columns
from xlharm.plan.cells import Cell

_Key = tuple[str, str]
"""A variant: division and part."""
_Floats = npt.NDArray[np.float64]
_DRAWN = {"of_share": "OF that is gone without a part", "restored": "What one layer's states before bring back"}
_LEAST = -100


class Variants:
    """The verdicts of one model in one language with parts of its adapter switched off.

    Args:
        table: of an ``ablate`` stage.
    """

    def __init__(self, table: pa.Table) -> None:
        counts: dict[tuple[_Key, str], dict[str, list[int]]] = {}
        loops: dict[_Key, list[int]] = {}
        for row in table.to_pylist():
            key = (row["by"], row["part"])
            of_item = counts.setdefault((key, row["measure"]), {}).setdefault(row["item"], [0, 0])
            of_item[0] += row["hit"]
            of_item[1] += 1
            of_variant = loops.setdefault(key, [0, 0])
            of_variant[0] += row["degenerate"]
            of_variant[1] += 1
        self._hits = {key: _hits(items) for key, items in counts.items()}
        self.degenerate = {key: 100 * hits / n for key, (hits, n) in loops.items()}

    def hits(self, key: _Key, measure: str) -> Hits | None:
        """Return a variant's hits, item by item; None without questions."""
        return self._hits.get((key, measure))

    def parts(self, by: str | None = None) -> list[_Key]:
        """Return the variants, of one division if it is given; the model as it is is none of them."""
        return [key for key in self.degenerate if key[0] != "none" and by in {None, key[0]}]


def _hits(counts: dict[str, list[int]]) -> Hits:
    array = np.array(list(counts.values()), dtype=np.int64)
    return Hits(tuple(counts), array[:, 0], array[:, 1])


def _rows(results: GridResults) -> Iterator[dict[str, Any]]:
    for cell in results.plan.cells:
        shared = {
            "cell": cell.name, "contaminate": cell.contaminate, "unlearn": cell.unlearn, "method": cell.method,
            "seed": cell.seed,
        }  # fmt: skip
        for probe, stages in cell.probes.items():
            kinds = {str(results.plan.stages[key].spec.get("probe", {}).get("kind")) for key in stages.values()}
            for row in _of_probe(results, cell, probe, kind=kinds.pop()):
                yield {**shared, "probe": probe, **row}


def _of_probe(results: GridResults, cell: Cell, probe: str, *, kind: str) -> Iterator[dict[str, Any]]:
    match kind:
        case "ablate":
            tables = ((query, results.rows(key)) for query, key in cell.probes[probe].items())
            variants = {query: Variants(table) for query, table in tables if table is not None}
            yield from share_rows(variants)
            yield from overlap_rows(variants)
        case "patch":
            yield from patched_rows(results, cell, probe)
        case "cka":
            yield from alignment_rows(results, cell, probe)
        case _:
            return


def share_rows(variants: dict[str, Variants]) -> Iterator[dict[str, Any]]:
    """Yield the share of OF and QR that is gone without each part, percent, and what is left.

    Args:
        variants: by query language.
    """
    places, pairs = [], []
    for query, of_query in variants.items():
        for measure in ("of", "qr"):
            whole = of_query.hits(("none", ""), measure)
            if not whole or not whole.rate:
                continue
            for key in of_query.parts():
                left = of_query.hits(key, measure)
                pair = Pair.of_hits([left], [whole]) if left else None
                if left and pair:
                    places.append((query, key, measure, left, of_query.degenerate[key]))
                    pairs.append(pair)
    for (query, (by, part), measure, left, loops), kept in zip(places, ratios(pairs), strict=True):
        yield {
            "by": by, "part": part, "measure": f"{measure}_share", "query": query, "items": len(left.items),
            "value": 100 * (1 - kept.estimate), "high": 100 * (1 - kept.low),
            "low": None if kept.high > 0.999 * MOST_RATIO else 100 * (1 - kept.high),
            "left": 100 * left.rate, "degenerate": loops,
        }  # fmt: skip


def overlap_rows(variants: dict[str, Variants]) -> Iterator[dict[str, Any]]:
    """Yield how far the same parts carry the fake in two languages, and the mean over all pairs of languages.

    It is the cosine of the two languages' losses of OF over the parts of a division: 1 where both lose it with the same
    parts in the same proportions, 0 where no part carries it in both.

    Args:
        variants: by query language.
    """
    divisions = dict.fromkeys(by for of_query in variants.values() for by, _ in of_query.parts() if by != "all")
    for by in divisions:
        losses = {query: lost for query, of_query in variants.items() if (lost := _losses(of_query, by)) is not None}
        queries = list(losses)
        items = [name for name in losses[queries[0]] if all(name in x for x in losses.values())] if queries else []
        if len(queries) < 2 or len(items) < 3:
            continue
        arrays = [np.array([losses[query][name] for name in items]) for query in queries]
        pairs = list(combinations(range(len(queries)), 2))
        found = {(queries[i], queries[j]): overlap([(arrays[i], arrays[j])]) for i, j in pairs}
        if len(pairs) > 1:
            found["all", "all"] = overlap([(arrays[i], arrays[j]) for i, j in pairs])
        for (query, other), interval in found.items():
            if interval is not None:
                yield {
                    "by": by, "part": "", "measure": "overlap", "query": query, "other": other, "items": len(items),
                    "value": interval.estimate, "low": interval.low, "high": interval.high,
                }  # fmt: skip


def _losses(variants: Variants, by: str) -> dict[str, list[float]] | None:
    """Return by how many hits each item has fewer without each part, by item; None without OF questions."""
    whole = variants.hits(("none", ""), "of")
    if not whole:
        return None
    left = [hits for key in variants.parts(by) if (hits := variants.hits(key, "of"))]
    lost = np.stack([whole.hits - hits.take(whole.items).hits for hits in left], axis=1)
    return dict(zip(whole.items, lost.astype(float).tolist(), strict=True))


def overlap(pairs: list[tuple[_Floats, _Floats]]) -> Interval | None:
    """Return the mean cosine of profiles with a jackknife interval over items; None where a profile is all zeros.

    Args:
        pairs: two tables [items, parts] each, over the same items.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.mean([_cosine(a.sum(0), b.sum(0)) for a, b in pairs])
        without = np.mean([_cosine(a.sum(0) - a, b.sum(0) - b) for a, b in pairs], axis=0)
    if not np.isfinite(whole) or not np.isfinite(without).all():
        return None
    return Interval(*(min(1.0, max(-1.0, x)) for x in jackknife(float(whole), without)))


def _cosine(a: _Floats, b: _Floats) -> _Floats:
    return np.asarray((a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1)))


def _charts(results: GridResults) -> tuple[Chart, ...]:
    """Draw the shares of OF of each cell's parts, and what each layer restores, language by language."""
    groups: dict[tuple[str, str, str], list[Estimate]] = {}
    for row in VIEW.table(results).to_pylist():
        if row["measure"] in _DRAWN and row["by"] != "all" and row["low"] is not None:
            label = f"{row['by']} {row['part']} · {row['query']}"
            low = min(row["value"], max(row["low"], _LEAST))
            estimate = Estimate(label=label, value=row["value"], low=low, high=row["high"])
            groups.setdefault((row["cell"], row["by"], row["measure"]), []).append(estimate)
    return tuple(
        Forest(
            name=f"attribution-{cell.replace('/', '-')}-{by}-{measure}", title=f"{_DRAWN[measure]}: {cell}",
            axis=f"percent; limits below {_LEAST} are cut", rows=tuple(rows),
        )
        for (cell, by, measure), rows in groups.items()
    )  # fmt: skip


VIEW = View(
    name="attribution",
    columns=columns(
        "value", "low", "high", "left", "degenerate",
        text=("cell", "contaminate", "unlearn", "method", "probe", "by", "part", "measure", "other"),
        whole=("seed", "items"),
    ),
    rows=_rows,
    charts=_charts,
    title="Attribution",
    sentence=(
        "of_share and qr_share: the percentage of OF and QR that is gone when a part of the adapter is switched off, "
        "and what is left; restored: how much of what unlearning took of the fake answer's log-probability comes back "
        "when one layer's states are those of the model before, percent; erased: layer erasure ratio, and its mean "
        "over layers (by depth), percent; overlap: how far the same parts carry the fake in two languages (cosine); "
        "cka: similarity of two languages' hidden states at a layer. 95 % intervals over items."
    ),
)  # fmt: skip
