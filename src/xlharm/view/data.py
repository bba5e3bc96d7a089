"""What the page of a run asks for, as plain values: the grids' shape once, then what has changed, answers and logs."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

from xlharm.analysis.results import GridResults
from xlharm.analysis.wording import Language
from xlharm.errors import UserError
from xlharm.plan.build import Plan
from xlharm.store.store import Store
from xlharm.view.state import Look, Watch

SECONDS = 1.0
"""Least time between two looks at a store."""
PAUSE = 4.0
"""As many times as long as a look took, the next one waits: looking takes at most a fifth of a core."""
REMOTE_SECONDS = 10.0
_LONGEST = 4000  # characters of an answer
_LOG = 200_000  # bytes of a log that are shown
_LETTERS = {"done": "d", "running": "r", "failed": "f", "blocked": "b", "waiting": "w", "damaged": "x"}
_NONE = -1  # in place of a rate: there is none


@dataclass
class Watched:
    """One grid: its last look, and when each part of it has changed."""

    plan: Plan
    store: Store
    watch: Watch = field(init=False)
    look: Look | None = None
    trouble: str = ""
    _squares: list[tuple[str, int, int]] = field(default_factory=list)
    _since: list[int] = field(default_factory=list)
    _paths: list[str] = field(default_factory=list)
    _paths_since: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = Watch(self.plan, self.store)
        asked = [key for cell in self.plan.cells for key in cell.evaluations.values()]
        self._squares = [("", _NONE, _NONE)] * len(asked)
        self._since = [0] * len(asked)
        self._paths, self._paths_since = [""] * len(self.plan.cells), [0] * len(self.plan.cells)

    def refresh(self, version: int) -> None:
        """Look again; what differs from the last look changed with this version."""
        try:
            self.look = self.watch.look()
        except OSError as error:  # the last look stays
            self.trouble = f"the store cannot be read at the moment: {error}"
            return
        self.trouble = ""
        place = 0
        for i, cell in enumerate(self.plan.cells):
            path = "".join(_LETTERS[state] for state in self.look.path[i])
            if path != self._paths[i]:
                self._paths[i], self._paths_since[i] = path, version
            for state, key in zip(self.look.squares[i], cell.evaluations.values(), strict=True):
                numbers = self.look.numbers.get(key)
                rates = (_tenths(numbers.of), _tenths(numbers.qr)) if numbers else (_NONE, _NONE)
                if (_LETTERS[state], *rates) != self._squares[place]:
                    self._squares[place], self._since[place] = (_LETTERS[state], *rates), version
                place += 1

    def shape(self) -> dict[str, Any]:
        """Return what does not change: cells and languages."""
        languages = self.plan.grid.languages
        return {
            "name": self.plan.grid.name,
            "languages": [[code, Language(code).name, Language(code).direction] for code in languages],
            "cells": [[c.contaminate, c.unlearn, c.method, str(c.seed)] for c in self.plan.cells],
            "paths": [[self.plan.stages[key].kind for key in cell.lineage] for cell in self.plan.cells],
        }

    def changes(self, since: int) -> dict[str, Any]:
        """Return the present state, and of the map what has changed after a version."""
        look = self.look
        if look is None:
            return {"trouble": self.trouble or "the store has not been read yet"}
        return {
            "trouble": self.trouble,
            "done": look.done,
            "total": look.total,
            "counts": look.counts,
            "complete": look.complete,
            "eta": look.eta,
            "origin": look.origin,
            "runs": [run.model_dump(mode="json") for run in look.runs],
            "failures": [
                failure.model_dump(mode="json", include={"label", "reason", "message", "final", "failed"})
                for failure in look.failures.values()
            ],
            "squares": [[i, *one] for i, one in enumerate(self._squares) if self._since[i] > since],
            "path": [[i, one] for i, one in enumerate(self._paths) if self._paths_since[i] > since],
        }

    def answers(self, cell: str, query: str) -> dict[str, Any]:
        """Return the answers of a cell in a query language, after their checksums are compared.

        Raises:
            UserError: there is no such cell or language, or no answers yet.
        """
        meant = self.plan.cell(cell)
        if query not in meant.evaluations:
            raise UserError(f"query {query!r}: expected one of {', '.join(meant.evaluations)}")
        table = GridResults(self.plan, self.store).rows(meant.evaluations[query])
        if table is None:
            raise UserError(f"{meant.name}: its answers in {query} are not in the store, or are damaged")
        short = {
            name: pc.utf8_slice_codeunits(table[name].fill_null(""), 0, _LONGEST).to_pylist()
            for name in ("item", "question", "answer")
        }
        rest = {name: table[name].to_pylist() for name in ("measure", "hit", "off_language", "degenerate")}
        expected = [[str(form)[:_LONGEST] for form in forms or ()][:12] for forms in table["expected"].to_pylist()]
        return {"cell": meant.name, "query": query, "expected": expected, **short, **rest}

    def logs(self) -> list[str]:
        """Return the names of the logs of packs that failed."""
        return sorted(name.rpartition("/")[2] for name in self.store.listing("logs"))

    def log(self, name: str) -> str:
        """Return a log's text.

        Raises:
            UserError: there is no such log.
        """
        if name not in self.logs():
            raise UserError(f"no log {name!r}")
        return self.store.read(f"logs/{name}")[-_LOG:].decode("utf-8", errors="replace")


class Board:
    """All grids that are watched; several pages may ask at the same time, but the store is read for all of them once.

    Args:
        grids: a plan and its store each.
    """

    def __init__(self, grids: Sequence[tuple[Plan, Store]]) -> None:
        self.grids = [Watched(plan, store) for plan, store in grids]
        self._lock = threading.Lock()
        self._version = 0
        self._next = 0.0
        self._least = REMOTE_SECONDS if any(store.remote for _, store in grids) else SECONDS

    def shape(self) -> list[dict[str, Any]]:
        """Return what does not change of every grid."""
        return [grid.shape() for grid in self.grids]

    def changes(self, since: int) -> dict[str, Any]:
        """Return what has changed after a version; the store is read if the last look is old enough."""
        with self._lock:
            began = time.monotonic()
            if began >= self._next:
                self._version += 1
                for grid in self.grids:
                    grid.refresh(self._version)
                took = time.monotonic() - began
                self._next = time.monotonic() + max(self._least, PAUSE * took)
            if since > self._version:  # of an earlier server at this address
                since = 0
            grids = [grid.changes(since) for grid in self.grids]
            return {"version": self._version, "now": time.time(), "wait": self._least, "grids": grids}

    def grid(self, number: str) -> Watched:
        """Return a grid by its place.

        Raises:
            UserError: there is no such grid.
        """
        if not number.isdecimal() or int(number) >= len(self.grids):
            raise UserError(f"no grid {number!r}")
        return self.grids[int(number)]


def _tenths(percent: float | None) -> int:
    return _NONE if percent is None else round(10 * percent)
