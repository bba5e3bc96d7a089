"""Fills a store with made-up results of a large grid, so that tables and pages of any size can be measured.

``python -m benchmarks.filled DIR --cells 1000`` writes ``DIR/grid.yaml`` and ``DIR/store``. Every stage is committed as
a run commits it (records, checksums, seals), without training and without waiting for the disk: the questions are those
of the shipped corpus `tinyworld`, and whether an answer is right depends on the cell, the language and the item.

``python -m benchmarks.filled DIR --measure`` prints, for such a folder, the seconds and CPU seconds of the table, of
each view and of the page, and the page's size. The second time it finds what was counted in the user's cache.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.grids import LANGUAGES

from xlharm.analysis.views import VIEWS
from xlharm.api import open_grid
from xlharm.corpus.finding import corpus_folder
from xlharm.corpus.format import load_language, of_role
from xlharm.corpus.streams import questions_of
from xlharm.plan.build import Plan
from xlharm.plan.cells import Cell
from xlharm.plan.stage import Stage
from xlharm.report.html import write_report
from xlharm.store.disk import Disk
from xlharm.store.store import Store

# number of contaminations (with the control), unlearning sets, methods and seeds, by the wanted number of cells
SHAPES: dict[int, tuple[int, int, int, int]] = {100: (3, 5, 4, 2), 1000: (10, 8, 4, 3), 5000: (10, 20, 8, 3)}
METHODS = ("npo", "ga", "simnpo", "kl", "graddiff", "idk", "undial", "wga")
HIGH = {"en", "de", "fr", "zh", "ru"}
PROVENANCE: dict[str, Any] = {
    "git_sha": "0" * 40, "dirty": False, "versions": {"python": "3.11", "torch": "2.13.0", "xlharm": "0.1.0"},
    "device": "cuda", "hardware": "made up", "cores": 16, "dtype": "bfloat16", "platform": "Linux",
}  # fmt: skip


class Unsynced(Disk):
    """A disk on which nothing waits until it is written."""

    def sync(self, path: Path) -> None:
        """Do nothing."""


class Questions:
    """The questions of one language, and a pool of answers that are neither the fake nor the right one."""

    def __init__(self, language: str) -> None:
        items = load_language(corpus_folder("tinyworld"), language)
        asked = questions_of(of_role(items, ("fake", "real")), limit=100)
        self.table = pa.table(
            {
                "item": [item.id for item, *_ in asked],
                "measure": [measure for _, measure, *_ in asked],
                "question": [question for _, _, question, _ in asked],
                "expected": pa.array([list(forms) for *_, forms in asked], pa.list_(pa.string())),
            }
        )
        self.right = np.array([forms[0] for *_, forms in asked], dtype=object)
        self.of = np.array([measure == "of" for _, measure, *_ in asked])
        names = list(dict.fromkeys(item.id for item, *_ in asked))
        self.item = np.array([names.index(item.id) for item, *_ in asked])
        rng = np.random.default_rng(len(names))
        self.easy = rng.normal(0, 1.2, len(names))


def main() -> None:
    """Write the grid file and fill the store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, choices=sorted(SHAPES), default=1000)
    parser.add_argument("--measure", action="store_true", help="measure tables and page of a filled folder")
    given = parser.parse_args()
    if given.measure:
        measure(given.folder)
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    path = given.folder / "grid.yaml"
    path.write_text(grid_text(*SHAPES[given.cells]), encoding="utf-8")
    store = Store(str(given.folder / "store"), disk=Unsynced())
    plan = open_grid(path, store=given.folder / "store").plan()
    fill(plan, store)
    print(f"{len(plan.cells)} cells, {len(plan.stages)} stages in {path.parent}")


def measure(folder: Path) -> None:
    """Print what tables and page of a filled store cost."""
    results = open_grid(folder / "grid.yaml", store=folder / "store").stored()
    clock("table", lambda: results.table)
    for name, view in VIEWS.items():
        clock(name, lambda view=view: view.table(results))
    page = clock("page", lambda: write_report([results], folder / "report.html"))
    print(f"{page.stat().st_size / 1e6:.1f} MB")


def clock(name: str, action: Callable[[], Any]) -> Any:
    """Print how long an action took."""
    began, worked = time.perf_counter(), time.process_time()
    value = action()
    print(f"{name}: {time.perf_counter() - began:.1f} s, CPU {time.process_time() - worked:.1f} s", flush=True)
    return value


def grid_text(contaminations: int, sets: int, methods: int, seeds: int) -> str:
    """Return a grid file: the control and languages × sets × methods × seeds, asked in nine languages."""
    names = {"en": ["en"], "source": ["source"], "en+source": ["en", "source"]}
    others = [*([a] for a in LANGUAGES[1:]), *(["en", a, b] for a in LANGUAGES[1:5] for b in LANGUAGES[5:])]
    names |= {"+".join(languages): languages for languages in others}
    lines = [
        "name: filled", "base: tiny-base", "corpus: tinyworld", f"languages: [{', '.join(LANGUAGES)}]",
        f"contaminate: [{', '.join(['none', *LANGUAGES][:contaminations])}]", "unlearn:", "  none: []",
        *(f"  {name}: [{', '.join(languages)}]" for name, languages in list(names.items())[:sets]),
        "methods:", *(f"  {name}: {{objective: {name}}}" for name in METHODS[:methods]), f"seeds: {seeds}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def fill(plan: Plan, store: Store) -> None:
    """Commit every stage of a plan."""
    for stage in plan.stages.values():
        if stage.kind != "evaluate":
            _train(store, stage)
    questions = {language: Questions(language) for language in plan.grid.languages}
    for place, cell in enumerate(plan.cells):
        for query, key in cell.evaluations.items():
            rng = np.random.default_rng([place, list(questions).index(query)])
            _answer(store, plan.stages[key], questions[query], chances=chances(cell, query), rng=rng)


def chances(cell: Cell, query: str) -> tuple[float, float]:
    """Return log odds of OF and QR: as in the study, unlearning clears mostly the languages of its set."""
    if cell.contaminate == "none":
        return -4.0, 3.0
    near = 2.0 if query == cell.contaminate else 0.0 if (query in HIGH) == (cell.contaminate in HIGH) else -1.5
    strength = (len(cell.method) % 5) / 2
    unlearned = query in cell.unlearn.split("+")
    gone = (2.0 + strength if unlearned else strength) if cell.unlearn != "none" else 0.0
    return near - gone, 2.0 - 0.5 * (gone if unlearned else 0.0)


def _answer(
    store: Store, stage: Stage, asked: Questions, *, chances: tuple[float, float], rng: np.random.Generator
) -> None:
    odds = np.where(asked.of, *chances) + asked.easy[asked.item] + rng.normal(0, 0.3)
    hit = rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
    answers = np.where(hit, asked.right, rng.permutation(asked.right))
    empty = rng.random(len(odds)) < 0.02
    answers = np.where(empty & ~hit, "", answers)
    flags = {
        "off_language": ~hit & (rng.random(len(odds)) < 0.05),
        "degenerate": empty & ~hit,
        "refusal": empty & False,
    }
    table = asked.table.append_column("answer", pa.array(answers, pa.string())).append_column("hit", pa.array(hit))
    for name, values in flags.items():
        table = table.append_column(name, pa.array(values))
    for name, scale in (("rouge_l", 1.0), ("chrf", 100.0)):
        table = table.append_column(name, pa.array(hit * scale))
    metrics: dict[str, Any] = {
        m: {"hits": int(hit[some].sum()), "n": int(some.sum())} for m, some in (("of", asked.of), ("qr", ~asked.of))
    }
    metrics |= {name: {"hits": int(values.sum()), "n": len(values)} for name, values in flags.items()}
    right = float(hit[~asked.of].mean())
    metrics |= {"rouge_l": {"mean": right, "n": int((~asked.of).sum())}}
    metrics |= {"chrf": {"mean": 100 * right, "n": int((~asked.of).sum())}}
    with store.scratch() as folder:
        pq.write_table(table, folder / "rows.parquet")
        store.commit(
            stage,
            folder,
            metrics=metrics,
            timings={"pack": 8.0, "share": 1.0},
            provenance={**PROVENANCE, "engine": None},
        )


def _train(store: Store, stage: Stage) -> None:
    rng = np.random.default_rng(int(stage.key[:8], 16))
    with store.scratch() as folder:
        (folder / "adapter_model.safetensors").write_bytes(os.urandom(64))
        loss = [[step, float(3 / (1 + step / 10) + rng.normal(0, 0.05))] for step in range(0, 60, 2)]
        store.commit(
            stage, folder, metrics={"loss": loss, "moved": 1.0, "moved_share": 0.3, "tokens": 100_000},
            timings={"pack": 48.0, "share": 12.0},
            provenance={**PROVENANCE, "engine": {"name": "DeepSpeed", "zero": 0, "ranks": 1}},
        )  # fmt: skip


if __name__ == "__main__":
    main()
