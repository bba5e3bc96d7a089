"""`xlharm plan`: what would run. Imports no torch and no Ray."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table

from xlharm.cli.common import DEFAULT_STORE, GridPath, Overrides, Session, StoreUrl, base_files, open_grid, terminal
from xlharm.engine.catalog import measured_seconds, records
from xlharm.errors import UserError
from xlharm.plan.base_files import changed
from xlharm.plan.cost import Estimate, differences, estimate
from xlharm.plan.memory import Anatomy
from xlharm.plan.stage import MODELS, Kind, Stage
from xlharm.store.record import Record

_PROMPT_TOKENS = 300  # of a judge's prompt, generously


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    grid: GridPath,
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    why: Annotated[
        str | None,
        typer.Option(metavar="KEY|CELL", help="Why does this stage or cell have to run? Names the field."),
    ] = None,
    power: Annotated[
        float | None,
        typer.Option(min=1, max=90, metavar="POINTS", help="Which n and seeds decide a difference of so many points?"),
    ] = None,
) -> None:
    """Show a grid's stages and cells: naive against shared, what is in the store, time and disk.

    \b
    xlharm plan grid/quickstart.yaml
    xlharm plan grid/quickstart.yaml -s stages.contaminate.learning_rate=1e-3 --why ur/en
    xlharm plan grid/quickstart.yaml --power 10
    """
    session = open_grid(grid, store=store, overrides=overrides)
    if why:
        _why(session, why)
        return
    if power is not None:
        _power(session, points=power)
        return
    done = session.store.done(session.plan.stages)
    seconds = {str(k): s for k, s in measured_seconds(session.store, session.plan).items()}
    found = estimate(session.plan, done=done, seconds=seconds, adapter_bytes=_adapter_bytes(session, done))
    if as_json:
        typer.echo(json.dumps(_plain(session, found, done), indent=1))
    else:
        _show(session, found, done)


def _adapter_bytes(session: Session, done: set[str]) -> int | None:
    """Return what an adapter takes in the store: as one that is there, else by the shapes of the base's files."""
    models = {k: s for k, s in session.plan.stages.items() if s.kind in MODELS}
    for key in done & models.keys():
        return sum(f.size for f in session.store.record(models[key].kind, key).files.values())
    anatomy = Anatomy.of(session.plan.sources.base) if models else None
    if anatomy is None:
        return None
    lora = next(iter(models.values())).spec["lora"]
    return 4 * anatomy.adapter(rank=lora["rank"], targets=tuple(lora["target_modules"]))


def _plain(session: Session, found: Estimate, done: set[str]) -> dict[str, Any]:
    plan = session.plan
    return {
        "grid": plan.grid.name,
        "dtype": plan.dtype,
        "store": session.store.url,
        "kinds": [
            {
                "kind": line.kind, "naive": line.naive, "shared": line.shared, "done": line.done,
                "seconds_left": round(line.seconds_left, 1), "seconds_naive": round(line.seconds_naive, 1),
            }
            for line in found.lines
        ],
        "disk_bytes": found.disk,
        "measured": found.measured,
        "cells": [{"cell": c.name, "model": c.model, "evaluations": c.evaluations} for c in plan.cells],
        "stages": [
            {"key": k, "kind": s.kind, "label": s.label, "inputs": list(s.inputs), "done": k in done}
            for k, s in plan.stages.items()
        ],
    }  # fmt: skip


def _show(session: Session, found: Estimate, done: set[str]) -> None:
    plan, console = session.plan, terminal()
    table = Table(title=f"{plan.grid.name}: {len(plan.cells)} cells, {plan.dtype}", title_justify="left", box=None)
    table.add_column("stage")
    for name in ("naive", "shared", "in store", "left", "time left", "naive time"):
        table.add_column(name, justify="right")
    for line in found.lines:
        left = line.shared - line.done
        row = [
            line.kind,
            line.naive,
            line.shared,
            line.done,
            left,
            clock(line.seconds_left),
            clock(line.seconds_naive),
        ]
        table.add_row(*map(str, row))
    naive = sum(line.seconds_naive for line in found.lines)
    to_go = sum(line.seconds_left for line in found.lines)
    counts = [sum(getattr(line, f) for line in found.lines) for f in ("naive", "shared", "done")]
    table.add_row("all", *map(str, [*counts, counts[1] - counts[2], clock(to_go), clock(naive)]), style="bold")
    console.print(table)
    basis = "measured on stages in this store" if found.measured else "a guess for two CPU cores; nothing measured yet"
    disk = "unknown, the base's files are not on this machine" if found.disk is None else f"{found.disk / 1e6:,.0f} MB"
    console.print(f"Times are of one worker, {basis}. Disk to add in {session.store.url}: {disk}")
    for told in _judging(session, done):
        console.print(told)
    if len(done) == len(plan.stages):
        console.print("Nothing to do: every stage is in the store.")


def _judging(session: Session, done: set[str]) -> Iterator[str]:
    """Say for each judge behind an endpoint how many answers it is still to see, and what that may cost."""
    from xlharm.corpus.format import load_language
    from xlharm.corpus.streams import questions_of

    plan, folder = session.plan, session.plan.sources.corpus.path
    asked: dict[str, Counter[str]] = {}
    for name, judge in plan.grid.judges.items():
        left = [(c, q) for c in plan.cells for q, key in c.judged[name].items() if key not in done]
        if judge.place != "endpoint" or not left:
            continue
        for query in {q for _, q in left} - asked.keys():
            some = questions_of(load_language(folder, query), limit=plan.grid.evaluate.questions)
            asked[query] = Counter(measure for _, measure, _, _ in some)
        count = sum(asked[q][measure] for _, q in left for measure in judge.measures)
        line = f"judge {name}: up to {count} answers to ask for"
        cost = judge.most_cost(count, prompt_tokens=_PROMPT_TOKENS)
        if cost is not None:
            line += f", about ${cost:.2f} at most"
        yield line


def clock(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _power(session: Session, *, points: float) -> None:
    from xlharm.analysis.items import Items
    from xlharm.analysis.seeds import GUESSED_SD, RATES, measured_sd, powers
    from xlharm.corpus.format import load_language
    from xlharm.corpus.streams import questions_of

    plan, console = session.plan, terminal()
    items = load_language(plan.sources.corpus.path, plan.grid.languages[0])
    asked = [measure for _, measure, _, _ in questions_of(items, limit=plan.grid.evaluate.questions)]
    n = asked.count("of")
    if n == 0:
        raise UserError(f"--power: corpus {plan.grid.corpus!r} has no OF questions in {plan.grid.languages[0]}")
    sd = measured_sd(Items(plan, session.store))
    shown = Table(title=f"Chance to find a difference of {points:g} points", title_justify="left", box=None)
    for name in ("questions", "seeds", *(f"{100 * a:.0f} vs {max(0, 100 * a - points):.0f}" for a, _ in RATES)):
        shown.add_column(name, justify="right")
    for row in powers(n=n, points=points, sd=GUESSED_SD if sd is None else sd):
        style = "bold" if (row.n, row.seeds) == (n, len(plan.grid.seeds)) else ""
        told = [f"{100 * c:.0f} %" for c in row.chances]
        shown.add_row(f"{row.n}" + ("*" if row.n == n else ""), str(row.seeds), *told, style=style)
    console.print(shown)
    basis = "measured on this store's seeds" if sd is not None else "a guess: no two seeds are in the store yet"
    spread = 100 * (GUESSED_SD if sd is None else sd)
    console.print(f"* this corpus. Two models, two-sided 5 %; between seeds {spread:.1f} points ({basis}).")
    console.print("Questions on one item are taken as independent: with several an item the true chance is lower.")


def _why(session: Session, wanted: str) -> None:
    for stage in _stages_meant(session, wanted):
        if session.store.has(stage):
            typer.echo(f"{stage.label} ({stage.key[:16]}): in the store, nothing to run")
            continue
        nearest = min(_candidates(session, stage), key=len, default=None)
        if nearest is None:
            typer.echo(f"{stage.label} ({stage.key[:16]}): no stage of its kind is in the store")
        else:
            changes = [line for line in nearest if not line.startswith("inputs")]
            below = ["its parent differs"] if len(changes) < len(nearest) else []
            typer.echo(f"{stage.label} ({stage.key[:16]}): " + "; ".join([*changes, *below]))


def _candidates(session: Session, stage: Stage) -> list[list[str]]:
    """Compare with the stored stages of the kind, those of other cells of this plan left out."""
    kind: Kind = stage.kind
    known = set(session.plan.stages)
    old = [r for r in records(session.store, kind) if r.key not in known] or list(records(session.store, kind))
    return [_named(session, differences(stage, record.identity), record) for record in old]


def _named(session: Session, lines: list[str], record: Record) -> list[str]:
    """Name the base's files that changed, in place of two digests, where both are known."""
    base = session.plan.sources.base
    before = base_files(session.store, str(record.identity.get("base")))
    if not before or not base.files or before == base.files:
        return lines
    return [f"base: {changed(before, base.files)}" if line.startswith("base: ") else line for line in lines]


def _stages_meant(session: Session, wanted: str) -> list[Stage]:
    plan = session.plan
    if "/" in wanted:
        cell = plan.cell(wanted)
        return [plan.stages[k] for k in (*cell.lineage, *cell.evaluations.values())]
    found = [s for k, s in plan.stages.items() if k.startswith(wanted)]
    if not found:
        raise UserError(
            f"--why {wanted}: no stage's key begins so; give a key of `plan --json`, or a cell such as ur/en"
        )
    return found
