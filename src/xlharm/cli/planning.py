"""`xlharm plan`: shows what a run would compute. Imports no torch and no Ray."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table

from xlharm.api import base_files
from xlharm.cli.checking import check_prompt
from xlharm.cli.common import DEFAULT_STORE, GridPath, Overrides, Session, StoreUrl, open_grid, terminal
from xlharm.engine.catalog import Entry, record_of, records
from xlharm.engine.choices import FULL_PACK
from xlharm.engine.estimates import Basis, clocks_of, corrected, expected_seconds
from xlharm.errors import UserError
from xlharm.parallel import usable_cores
from xlharm.plan.base_files import changed
from xlharm.plan.cost import PlanCost, differences, estimate
from xlharm.plan.families import Path, path_of
from xlharm.plan.memory import BaseSizes
from xlharm.plan.stage import MODELS, Kind, Stage
from xlharm.plan.targets import sizes_of
from xlharm.store.record import Record
from xlharm.visible import visible

_PROMPT_TOKENS = 300  # upper estimate for one prompt of a judge


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    grid: GridPath,
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    why: Annotated[
        str | None,
        typer.Option(
            metavar="KEY|CELL",
            help="Show why a stage or a cell still has to run: the fields in which it differs from the stored stages.",
        ),
    ] = None,
    power: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=90,
            metavar="POINTS",
            help="Show how many items and seeds are needed to find a difference in OF (occurrence of the fake) "
            "of so many percentage points.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of workers that the run will have.")] = 1,
    price: Annotated[
        float | None, typer.Option(min=0, metavar="DOLLARS", help="Price of a GPU for an hour, to show the cost.")
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Load the base and measure some steps and answers on this machine first; the measured speed is kept "
            "for later plans.",
        ),
    ] = False,
) -> None:
    """Show what a run of a grid would compute, how long it would take, and how much disk it needs.

    For each kind of stage: `naive` is the number of stages if every cell computed all of its own, `shared` the number
    with common stages computed once, `in store` how many of these are finished, and `left` how many still have to run.

    \b
    xlharm plan grid/quickstart.yaml
    xlharm plan grid/quickstart.yaml -s stages.contaminate.learning_rate=1e-3 --why ur/en
    xlharm plan grid/quickstart.yaml --power 10
    xlharm plan grid/study.yaml --calibrate --workers 4
    """
    session = open_grid(grid, store=store, overrides=overrides)
    check_prompt(session.plan)
    if why:
        _why(session, why)
        return
    if power is not None:
        _power(session, points=power)
        return
    if calibrate:
        _calibrate(session)
    done, _ = session.store.sound(session.plan.stages)
    times, basis, device = corrected(clocks_of(session.plan), session.plan, session.store)
    seconds = expected_seconds(session.plan, times, pack=FULL_PACK[device])
    costs = estimate(session.plan, done=done, seconds=seconds, adapter_bytes=_adapter_bytes(session, done))
    if as_json:
        times_of = {"start_seconds": round(times.start, 1), "basis": basis, "device": device}
        plain = {**_plain(session, costs, done), **times_of, "measured": basis != "sizes"}
        typer.echo(json.dumps(plain, indent=1))
        return
    _show(session, costs, done)
    left = sum(line.seconds_left for line in costs.lines)
    for line in _cost(session, left, start=times.start, basis=basis, device=device, workers=workers, price=price):
        terminal().print(line, markup=False, soft_wrap=True)


def _calibrate(session: Session) -> None:
    with terminal().status("Measuring the base on this machine"):
        from xlharm.engine.calibration import calibrate

        calibrate(session.plan)


def _adapter_bytes(session: Session, done: set[str]) -> int | None:
    """Return the bytes of an adapter in the store: measured on a stored one, else from the shapes of the base model."""
    models = {k: s for k, s in session.plan.stages.items() if s.kind in MODELS}
    for key in done & models.keys():
        record = record_of(session.store, Entry(kind=models[key].kind, name=key))
        if record is not None:
            return sum(file.size for file in record.files.values())
    targets = session.plan.grid.lora.target_modules
    sizes = sizes_of(session.plan.sources.base, targets) if models else None
    if sizes is None:
        return None
    lora = next(iter(models.values())).spec["lora"]
    return 4 * sizes.adapter_parameters(rank=lora["rank"], targets=tuple(lora["target_modules"]))


def _plain(session: Session, costs: PlanCost, done: set[str]) -> dict[str, Any]:
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
            for line in costs.lines
        ],
        "disk_bytes": costs.disk,
        "cells": [{"cell": c.name, "model": c.model, "evaluations": c.evaluations} for c in plan.cells],
        "stages": [
            {"key": k, "kind": s.kind, "label": s.label, "inputs": list(s.inputs), "done": k in done}
            for k, s in plan.stages.items()
        ],
    }  # fmt: skip


def _show(session: Session, costs: PlanCost, done: set[str]) -> None:
    plan, console = session.plan, terminal()
    table = Table(title=f"{plan.grid.name}: {len(plan.cells)} cells, {plan.dtype}", title_justify="left", box=None)
    table.add_column("stage")
    for name in ("naive", "shared", "in store", "left", "time left", "naive time"):
        table.add_column(name, justify="right")
    for line in costs.lines:
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
    naive = sum(line.seconds_naive for line in costs.lines)
    to_go = sum(line.seconds_left for line in costs.lines)
    counts = [sum(getattr(line, f) for line in costs.lines) for f in ("naive", "shared", "done")]
    table.add_row("all", *map(str, [*counts, counts[1] - counts[2], clock(to_go), clock(naive)]), style="bold")
    console.print(table)
    disk = "unknown, the base's files are not on this machine" if costs.disk is None else f"{costs.disk / 1e6:,.0f} MB"
    console.print(f"Disk space needed in {session.store.url}: {disk}", soft_wrap=True)
    for judge_line in _judging(session, done):
        console.print(judge_line)
    if adapted := _adapted(session):
        console.print(adapted)
    path = path_of(plan.grid.path, family=plan.sources.base.family, kind=plan.sources.base.kind)
    if path in _PATHS:
        console.print(_PATHS[path])
    if len(done) == len(plan.stages):
        console.print("Nothing to do: every stage is in the store.")


_PATHS: dict[Path, str] = {
    "generic": "The base runs on the generic path, by transformers' own code (docs/families.md)",
    "encoder-decoder": (
        "The base is an encoder-decoder: questions go to its encoder, answers to its decoder (docs/other-bases.md)"
    ),
    "masked": ("The base fills in masks: OF and QR count which of the given answers it chooses (docs/other-bases.md)"),
}
_BASES: dict[Basis, str] = {
    "store": "measured on stages of this base in the store",
    "machine": "measured with this base on this machine",
    "sizes": "computed from the sizes of base, texts and steps: expect errors of a factor of two until something ran",
}


def _cost(
    session: Session, seconds: float, *, start: float, basis: Basis, device: str, workers: int, price: float | None
) -> Iterator[str]:
    """Yield lines about the time of the whole run, and its price."""
    where = "a GPU" if device == "cuda" else f"{usable_cores()} CPU cores"
    yield f"Times are for one worker on {where}, {_BASES[basis]}."
    if BaseSizes.of(session.plan.sources.base) is None:
        yield "The base's files are not on this machine: a model of a billion parameters stands for it."
    if not seconds:
        return
    many = f"{workers} workers, if there are enough stages for all of them" if workers > 1 else "one worker"
    whole = start + seconds / workers
    yield f"The whole run: about {clock(whole)} with {many}; {clock(start)} of that is start-up."
    if device == "cuda":
        hours = (seconds + start * workers) / 3600
        cost = f", about ${hours * price:,.2f}" if price is not None else ""
        yield f"GPU-hours: {hours:.2g}{cost}"


def _adapted(session: Session) -> str:
    """Say which layers have adapters, and how much of the base that is; empty if its files are not on this machine."""
    lora = session.plan.grid.lora
    sizes = sizes_of(session.plan.sources.base, lora.target_modules)
    if sizes is None or not (share := sizes.share(lora.target_modules)):
        return ""
    return f"Adapters of rank {lora.rank} on {', '.join(lora.target_modules)}: {share:.0%} of the base's weights"


def _judging(session: Session, done: set[str]) -> Iterator[str]:
    """Yield a line for each judge behind an endpoint: how many answers it still has to judge, and the highest cost."""
    from xlharm.corpus.format import load_language
    from xlharm.corpus.streams import questions_of

    plan, folder = session.plan, session.plan.sources.corpus.path
    questions: dict[str, Counter[str]] = {}
    for name, judge in plan.grid.judges.items():
        left = [(c, q) for c in plan.cells for q, key in c.judged[name].items() if key not in done]
        if judge.place != "endpoint" or not left:
            continue
        for query in {q for _, q in left} - questions.keys():
            listed = questions_of(load_language(folder, query), limit=plan.grid.evaluate.questions)
            questions[query] = Counter(measure for _, measure, _, _ in listed)
        count = sum(questions[q][measure] for _, q in left for measure in judge.measures)
        line = f"judge {name}: up to {count} answers to ask for"
        cost = judge.most_cost(count, prompt_tokens=_PROMPT_TOKENS)
        if cost is not None:
            line += f", about ${cost:.2f} at most"
        yield line


def clock(seconds: float) -> str:
    """Return a duration as text, in seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _power(session: Session, *, points: float) -> None:
    from xlharm.analysis.seeds import GUESSED_SD, RATES, measured_sd, powers
    from xlharm.corpus.format import load_language
    from xlharm.corpus.streams import questions_of

    plan, console = session.plan, terminal()
    items = load_language(plan.sources.corpus.path, plan.grid.languages[0])
    asked = questions_of(items, limit=plan.grid.evaluate.questions)
    n = len({item.id for item, measure, _, _ in asked if measure == "of"})
    if n == 0:
        raise UserError(f"--power: corpus {plan.grid.corpus!r} has no OF questions in {plan.grid.languages[0]}")
    sd = measured_sd(session.grid.stored())
    shown = Table(title=f"Chance to find a difference of {points:g} points", title_justify="left", box=None)
    for name in ("items", "seeds", *(f"{100 * a:.0f} vs {max(0, 100 * a - points):.0f}" for a, _ in RATES)):
        shown.add_column(name, justify="right")
    for row in powers(n=n, points=points, sd=GUESSED_SD if sd is None else sd):
        style = "bold" if (row.n, row.seeds) == (n, len(plan.grid.seeds)) else ""
        chances = [f"{100 * c:.0f} %" for c in row.chances]
        shown.add_row(f"{row.n}" + ("*" if row.n == n else ""), str(row.seeds), *chances, style=style)
    console.print(shown)
    basis = "measured on the seeds in this store" if sd is not None else "assumed: the store has no two seeds yet"
    spread = 100 * (GUESSED_SD if sd is None else sd)
    console.print(
        "Comparison of the OF (occurrence of the fake) of two models, two-sided test at 5 %. "
        "* number of items with OF questions in this corpus."
    )
    console.print(f"Standard deviation between seeds: {spread:.1f} points ({basis}).")
    console.print("An item counts once, whatever its number of questions.")


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
            below = ["its input stage differs"] if len(changes) < len(nearest) else []
            typer.echo(visible(f"{stage.label} ({stage.key[:16]}): " + "; ".join([*changes, *below])))


def _candidates(session: Session, stage: Stage) -> list[list[str]]:
    """Return the differences from each stored stage of the same kind, without the stages of this plan's other cells."""
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
    stages = [s for k, s in plan.stages.items() if k.startswith(wanted)]
    if not stages:
        raise UserError(
            f"--why {wanted}: no stage's key begins so; give a key from `plan --json`, or a cell such as ur/en"
        )
    return stages
