"""`xlharm run` and `xlharm status`."""

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from xlharm.cli.checking import check_before_run
from xlharm.cli.common import DEFAULT_STORE, GridPath, Overrides, Session, StoreUrl, open_grid, terminal
from xlharm.cli.planning import clock
from xlharm.cli.progress import Display
from xlharm.engine.choices import read_labels, run_options
from xlharm.engine.run import Outcome
from xlharm.plan.sharding import Offload
from xlharm.store.record import Failure

Wandb = Annotated[
    Literal["online", "offline", "off"],
    typer.Option("--wandb", help="Mirror the results to Weights & Biases."),
]


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
        typer.Option(envvar="RAY_ADDRESS", help="A Ray cluster; without it a local one is started."),
    ] = None,
    executor: Annotated[
        Literal["ray", "in-process"],
        typer.Option(help="in-process: without Ray, one pack after another in this process, for debugging."),
    ] = "ray",
    pack: Annotated[
        str, typer.Option(help="Trials trained together: a number, or auto: fewer where --workers would idle.")
    ] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Default: one per GPU, or one on a CPU machine.")] = None,
    ranks: Annotated[int, typer.Option(min=1, help="Processes a worker has: a data-parallel group.")] = 1,
    zero: Annotated[
        int | None, typer.Option(help="ZeRO stage: 0, 2, or 3 (base partitioned). Default: as needed.")
    ] = None,
    offload: Annotated[
        Offload | None,
        typer.Option(help="Keep this in the machine's memory between uses: slower, for a base that does not fit."),
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    gpus_per_worker: Annotated[
        float, typer.Option(metavar="SHARE", help="0.25: four workers on each GPU, for small bases.")
    ] = 1.0,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only on machines with this Ray label (`ray start --labels`)."),
    ] = None,
    wandb: Wandb = "off",
    report: Annotated[Path | None, typer.Option(help="Write the HTML page here afterwards.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed for good.")] = False,
    keep_warm: Annotated[bool, typer.Option("--keep-warm", help="Leave the workers on the cluster.")] = False,
    max_gpu_hours: Annotated[
        float | None,
        typer.Option(
            metavar="HOURS",
            help="Stop when the workers of this run have held GPUs for so long, all together "
            "(on CPUs: hours of worker processes).",
        ),
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Stop by then: 6h30m from now, or 2026-11-25T08:00.")
    ] = None,
) -> None:
    """Run what is missing of a grid. Ctrl-C, crashes and kills lose nothing that was finished.

    At a limit nothing begins that could not end in time, what runs saves its state, and the exit code is 1. The same
    command goes on from there. Exit codes: 0 all done, 1 not all, 2 a mistake in the input, 130 interrupted.

    \b
    xlharm run grid/quickstart.yaml
    xlharm run grid/quickstart.yaml --address auto --store /shared/store
    """
    options = run_options(
        executor=executor, pack=pack, workers=workers, ranks=ranks, zero=zero, offload=offload, device=device,
        address=address, gpus_per_worker=gpus_per_worker, labels=read_labels(label or ()), retry_failed=retry_failed,
        keep_warm=keep_warm, max_gpu_hours=max_gpu_hours, deadline=deadline,
    )  # fmt: skip
    session, console = open_grid(grid, store=store, overrides=overrides, writes=True), terminal()
    check_before_run(session.plan, session.store, console=console)
    with Display(console, title=session.plan.grid.name) as display:
        outcome = session.grid.run_with(options, executor=executor, on_progress=display.update)
    _conclude(session, outcome, console=console)
    if not outcome.interrupted and outcome.limit is None:
        _show_results(session, console=console, report=report, wandb=wandb)
    raise typer.Exit(outcome.exit_code)


def _tell_failed(console: Console, failure: Failure) -> None:
    line = f"failed: {failure.label}: {failure.reason}: {failure.message}"
    console.print(line, style="red", markup=False, soft_wrap=True)  # one line each, for those who search logs


def _conclude(session: Session, outcome: Outcome, *, console: Console) -> None:
    for failure in outcome.failures.values():
        _tell_failed(console, failure)
    if outcome.interrupted or outcome.limit is not None:
        by = f" by {outcome.limit}" if outcome.limit else ""
        left = outcome.total - outcome.done - outcome.dead
        line = f"{outcome.done} of {outcome.total} stages are stored; {left} are left"
        ahead = f"about {clock(outcome.seconds_left)} of a worker"
        console.print(f"Stopped{by}. {line}, {ahead}", markup=False, soft_wrap=True)
        command = shlex.join(["xlharm", *sys.argv[1:]])
        console.print(f"go on with: {command}", markup=False, soft_wrap=True)
    elif outcome.ran == 0 and outcome.done == outcome.total:
        console.print(f"Nothing to do: all {outcome.total} stages are in {session.store.url}")
    else:
        line = f"Ran {outcome.ran} stages in {clock(outcome.seconds)}; {outcome.done} of {outcome.total} are stored."
        console.print(line)


def _show_results(
    session: Session, *, console: Console, report: Path | None, wandb: Literal["online", "offline", "off"]
) -> None:
    from xlharm.report.terminal import print_results

    results = session.grid.stored()
    print_results(results.table, console)
    if wandb != "off":
        from xlharm.tracking.wandb import sync

        sync(results, mode=wandb)
    if report is not None:
        from xlharm.report.html import write_report

        console.print(f"Report: {write_report(results, report).absolute()}", soft_wrap=True)


def status(
    grid: GridPath,
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds until all is done.")] = False,
) -> None:
    """Show what is done, running, failed (and why) and left."""
    session = open_grid(grid, store=store, overrides=overrides)
    console = terminal()
    while not _show_status(session, console) and watch:
        time.sleep(2)
        if sys.stdout.isatty():
            console.clear()


def _show_status(session: Session, console: Console) -> bool:
    status = session.grid.status()
    for kind, counts in status.stages.items():
        shown = ", ".join(f"{n} {name}" for name, n in counts.items() if n or name == "done")
        console.print(f"{kind:<12} {shown} of {sum(counts.values())}")
    for failure in status.failures.values():
        _tell_failed(console, failure)
    console.print(f"{status.complete} of {status.cells} cells are complete")
    return status.finished
