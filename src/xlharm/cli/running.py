"""`xlharm run` and `xlharm status`."""

import contextlib
import json
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.live import Live

from xlharm.cli.checking import check_before_run
from xlharm.cli.common import DEFAULT_STORE, GridPath, Overrides, Session, StoreUrl, open_grid, terminal
from xlharm.cli.planning import clock
from xlharm.cli.progress import Display
from xlharm.engine.choices import read_labels, run_options
from xlharm.engine.run import RunOutcome
from xlharm.plan.sharding import Offload
from xlharm.store.record import Failure

WandbMode = Literal["online", "offline", "off"]
Wandb = Annotated[
    WandbMode,
    typer.Option("--wandb", help="Mirror the results to Weights & Biases; online: while the grid runs."),
]
_WANDB_SECONDS = 600.0  # how long a finished run waits for W&B
_WANDB_SECONDS_STOPPED = 10.0

_WATCH_SECONDS = 2.0
_REMOTE_WATCH_SECONDS = 10.0  # of a bucket, where each look costs requests


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run)
    app.command("status")(status)


def run(
    grid: GridPath,
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="Address of a Ray cluster. Default: start one on this machine."),
    ] = None,
    executor: Annotated[
        Literal["ray", "in-process"],
        typer.Option(help="in-process: compute one pack after another in this process, without Ray, for debugging."),
    ] = "ray",
    pack: Annotated[
        str,
        typer.Option(
            help="Largest number of stages that are trained together: a number, or auto, which makes packs smaller if "
            "some of --workers would otherwise have nothing to do."
        ),
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of workers. Default: one for each GPU, or one on a CPU machine.")
    ] = None,
    ranks: Annotated[
        int, typer.Option(min=1, help="Number of processes of a worker, which form a data-parallel group.")
    ] = 1,
    zero: Annotated[
        int | None, typer.Option(help="ZeRO stage: 0, 2, or 3 (base model partitioned). Default: as needed.")
    ] = None,
    offload: Annotated[
        Offload | None,
        typer.Option(
            help="Keep this in the machine's memory between uses. Slower, for a base model that does not fit the GPU."
        ),
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device to compute on.")] = "auto",
    gpus_per_worker: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="GPUs of each worker: 0.25 puts four workers on each GPU, for small base models."
        ),
    ] = 1.0,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Use only machines with this Ray label (`ray start --labels`)."),
    ] = None,
    wandb: Wandb = "off",
    report: Annotated[Path | None, typer.Option(help="Write the HTML report to this file at the end.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also run stages that failed for good in earlier runs.")
    ] = False,
    keep_warm: Annotated[
        bool, typer.Option("--keep-warm", help="Leave the workers running on the cluster, for the next run.")
    ] = False,
    max_gpu_hours: Annotated[
        float | None,
        typer.Option(
            metavar="HOURS",
            help="Stop when all workers of this run together have held GPUs for so many hours "
            "(on CPUs: hours of worker processes).",
        ),
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Stop by this time: 6h30m from now, or 2026-11-25T08:00.")
    ] = None,
) -> None:
    """Run the stages of a grid that are not in the store yet, and show the results.

    Finished stages are never lost, not even by Ctrl-C, a crash or a kill: the same command continues. When a limit
    (--max-gpu-hours, --deadline) is near, only stages that can end in time are started, running stages save their
    state, and the exit code is 1. The results show OF (occurrence of the fake) and QR (quality on the real) of each
    cell. Exit codes: 0 all done, 1 not all done, 2 a mistake in the input, 130 interrupted.

    \b
    xlharm run grid/quickstart.yaml
    xlharm run grid/quickstart.yaml --address auto --store /shared/store
    """
    options = run_options(
        executor=executor, pack=pack, workers=workers, ranks=ranks, zero=zero, offload=offload, device=device,
        address=address, gpus_per_worker=gpus_per_worker, labels=read_labels(label or ()), retry_failed=retry_failed,
        keep_warm=keep_warm, max_gpu_hours=max_gpu_hours, deadline=deadline,
    )  # fmt: skip
    session, console = open_grid(grid, store=store, overrides=overrides, may_be_empty=True), terminal()
    check_before_run(session.plan, session.store, console=console)
    with _mirrored(session, wandb, grid=grid, overrides=overrides, report=report, console=console) as mirror:
        with Display(console, title=session.plan.grid.name) as display:
            outcome = session.grid.run_with(options, executor=executor, on_progress=display.update)
        _conclude(session, outcome, console=console)
        if not outcome.interrupted and outcome.limit is None:
            mirror.seconds = _WANDB_SECONDS
            _show_results(session, console=console, report=report, wandb=mirror.at_end)
    raise typer.Exit(outcome.exit_code)


@dataclass
class _Mirror:
    """How results are sent when the run is over.

    Attributes:
        at_end: how this process is to send them; ``off`` if another sends them while they come.
        seconds: how long the run waits for that other.
    """

    at_end: WandbMode
    seconds: float = _WANDB_SECONDS_STOPPED


@contextlib.contextmanager
def _mirrored(
    session: Session, mode: WandbMode, *, grid: Path, overrides: list[str] | None, report: Path | None,
    console: Console,
) -> Iterator[_Mirror]:  # fmt: skip
    """Send results while they come, in a process of its own."""
    if mode == "off":
        yield _Mirror(at_end="off")
        return
    from xlharm.tracking import live as beside
    from xlharm.tracking.wandb import actual_mode, checked_project

    checked_project(None)
    actual = actual_mode(mode)
    if actual != "online":
        if mode == "online" and actual == "offline":
            console.print(
                "W&B: no login, or WANDB_MODE says offline: runs are written to wandb/ at the end of this run"
            )
        yield _Mirror(at_end=actual or "off")
        return
    options = ["--store", session.store.url, *(word for text in overrides or () for word in ("-s", text))]
    options += ["--page", str(report)] if report else []
    live, mirror = (
        beside.Live([*beside.FOLLOW, str(grid), *options, "--follow"], folder=Path.cwd()),
        _Mirror(at_end="off"),
    )
    try:
        yield mirror
    except BaseException:
        live.end(seconds=_WANDB_SECONDS_STOPPED)
        raise
    console.print(f"Sending what is left to W&B, for at most {clock(mirror.seconds)}", soft_wrap=True)
    if not live.end(seconds=mirror.seconds):
        command = shlex.join(["xlharm", "wandb", "sync", str(grid), *options])
        _tell_unsent(session, command, report=report, console=console)


def _tell_unsent(session: Session, command: str, *, report: Path | None, console: Console) -> None:
    from xlharm.tracking.wandb import unsent

    left, total = unsent(session.grid.stored(), page=report)
    if left:
        line = f"W&B: {left} of {total} runs are not sent; send them with: {command}"
        console.print(line, style="red", markup=False, soft_wrap=True)


def _tell_failed(console: Console, failure: Failure) -> None:
    line = f"failed: {failure.label}: {failure.reason}: {failure.message}"
    console.print(
        line, style="red", markup=False, soft_wrap=True
    )  # one line for each failure, so that logs can be searched


def _conclude(session: Session, outcome: RunOutcome, *, console: Console) -> None:
    for failure in outcome.failures.values():
        _tell_failed(console, failure)
    if outcome.interrupted or outcome.limit is not None:
        by = f" by {outcome.limit}" if outcome.limit else ""
        left = outcome.total - outcome.done - outcome.dead
        summary = f"{outcome.done} of {outcome.total} stages are stored; {left} are left"
        remaining = f"about {clock(outcome.seconds_left)} of a worker"
        console.print(f"Stopped{by}. {summary}, {remaining}", markup=False, soft_wrap=True)
        command = shlex.join(["xlharm", *sys.argv[1:]])
        console.print(f"go on with: {command}", markup=False, soft_wrap=True)
    elif outcome.ran == 0 and outcome.done == outcome.total:
        console.print(f"Nothing to do: all {outcome.total} stages are in {session.store.url}")
    else:
        expected = f" (estimated: {clock(outcome.expected)})" if outcome.expected is not None else ""
        took = f"{clock(outcome.seconds)}{expected}"
        summary = f"Ran {outcome.ran} stages in {took}; {outcome.done} of {outcome.total} are stored."
        if outcome.start is not None:
            summary += f" Start-up took {clock(outcome.start)} of it (estimated: {clock(outcome.expected_start)})."
        console.print(summary, soft_wrap=True)


def _show_results(session: Session, *, console: Console, report: Path | None, wandb: WandbMode) -> None:
    from xlharm.report.terminal import print_results

    results = session.grid.stored()
    print_results(results, console)
    if report is not None:
        from xlharm.report.html import write_report

        console.print(f"Report: {write_report([results], report).absolute()}", soft_wrap=True)
    if wandb != "off":
        from xlharm.tracking.wandb import sync

        sync(results, mode=wandb, page=report)


def status(
    grid: GridPath,
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show a map that fills while a run goes on, until all stages are done.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs, with the time to go.")] = False,
) -> None:
    """Show how many stages of a grid are done, running, failed and left, and why stages failed.

    The run may be in another process or on another machine: what is shown is in the store. `xlharm view` shows the
    same as a page.

    \b
    xlharm status grid/quickstart.yaml
    xlharm status grid/quickstart.yaml --watch
    xlharm status grid/quickstart.yaml --json
    """
    session = open_grid(grid, store=store, overrides=overrides)
    console = terminal()
    if as_json:
        typer.echo(json.dumps(_plain_status(session), indent=1))
    elif watch:
        _watch(session, console)
    else:
        _show_status(session, console)


def _plain_status(session: Session) -> dict[str, Any]:
    """Return the state of a grid as plain values; ``eta_seconds`` is null where it cannot be said."""
    from xlharm.view.state import Watch

    look = Watch(session.plan, session.store).look(numbers=False)
    damaged = session.grid.status().damaged
    return {
        "grid": session.plan.grid.name,
        "stages": look.counts,
        "done": look.done,
        "total": look.total,
        "cells": len(session.plan.cells),
        "complete": look.complete,
        "eta_seconds": None if look.eta is None else round(look.eta, 1),
        "eta_from": look.origin,
        "failures": [failure.model_dump(mode="json") for failure in look.failures.values()],
        "damaged": damaged,
        "runs": [run.model_dump(mode="json") for run in look.runs],
    }


def _watch(session: Session, console: Console) -> None:
    """Show the map until all is done; without a terminal, one line whenever something has changed."""
    from xlharm.view.state import Watch
    from xlharm.view.terminal import drawn, line

    watch, printed = Watch(session.plan, session.store), ""
    pause = _REMOTE_WATCH_SECONDS if session.store.remote else _WATCH_SECONDS
    if not console.is_terminal:
        while True:
            look = watch.look(numbers=False)
            if (changed := f"{look.counts}") != printed:
                printed = changed
                console.print(line(look), soft_wrap=True)
            if look.finished:
                return
            time.sleep(pause)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            look = watch.look()
            live.update(drawn(session.plan, look, height=console.height), refresh=True)
            if look.finished and len(look.numbers) >= len({k for c in session.plan.cells for k in c.evaluations}):
                return
            time.sleep(pause)


def _show_status(session: Session, console: Console) -> None:
    status = session.grid.status()
    for kind, counts in status.stages.items():
        shown = ", ".join(f"{n} {name}" for name, n in counts.items() if n or name == "done")
        console.print(f"{kind:<12} {shown} of {sum(counts.values())}")
    for failure in status.failures.values():
        _tell_failed(console, failure)
    for line in status.damaged:
        console.print(f"damaged, computed again by the next run: {line}", style="red", markup=False, soft_wrap=True)
    console.print(f"{status.complete} of {status.cells} cells are complete")
