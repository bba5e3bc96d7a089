"""`xlharm run` and `xlharm status`."""

import math
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from xlharm.cli.checking import check_before_run
from xlharm.cli.common import (
    DEFAULT_STORE,
    GridPath,
    Overrides,
    Session,
    StoreUrl,
    has_gpu,
    open_grid,
    remember,
    terminal,
)
from xlharm.cli.planning import clock
from xlharm.cli.progress import Display
from xlharm.engine.in_process import in_process
from xlharm.engine.limits import deadline_at
from xlharm.engine.options import RunOptions
from xlharm.engine.ray import on_ray
from xlharm.engine.run import ExecutorFactory, RunOutcome, run_grid
from xlharm.errors import UserError
from xlharm.plan.sharding import Offload, zero_stage
from xlharm.plan.stage import KINDS
from xlharm.store.lease import Leases
from xlharm.store.record import Failure

# Trials that share one forward and backward. On a GPU a lone small trial leaves most of the card idle.
_PACK = {"cpu": 6, "cuda": 8}

_LABEL = re.compile(r"[A-Za-z0-9][\w./-]*=[A-Za-z0-9][\w.-]*")

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
    zero_stage(zero, ranks=ranks, offload=offload)
    if max_gpu_hours is not None and not 0 < max_gpu_hours < math.inf:
        raise UserError(f"--max-gpu-hours {max_gpu_hours:g}: expected a number above 0")
    until = None if deadline is None else deadline_at(deadline, now=time.time())
    session, console = open_grid(grid, store=store, overrides=overrides, writes=True), terminal()
    check_before_run(session.plan, session.store, console=console)
    remember(session)
    options = RunOptions(
        pack=_pack_size(pack, device), spread=workers if pack == "auto" else None, workers=workers, ranks=ranks,
        zero=zero, offload=offload, device=device, address=address, retry_failed=retry_failed, keep_warm=keep_warm,
        gpus_per_worker=gpus_per_worker, labels=_labels(label or ()), max_hours=max_gpu_hours, deadline=until,
    )  # fmt: skip
    start_executor = _executor(executor, options)
    with Display(console, title=session.plan.grid.name) as display:
        outcome = run_grid(
            session.plan, session.store, options, on_progress=display.update, start_executor=start_executor
        )
    _conclude(session, outcome, console=console)
    if not outcome.interrupted and outcome.limit is None:
        _show_results(session, console=console, report=report, wandb=wandb)
    raise typer.Exit(outcome.exit_code)


def _executor(name: Literal["ray", "in-process"], options: RunOptions) -> ExecutorFactory:
    """Return what runs the packs.

    Raises:
        UserError: an option asks for more than one process.
    """
    if name == "ray":
        return on_ray
    given = {
        "--address": options.address, "--workers": (options.workers or 1) > 1, "--ranks": options.ranks > 1,
        "--zero": options.zero, "--offload": options.offload, "--label": options.labels,
        "--keep-warm": options.keep_warm,
    }  # fmt: skip
    for option, value in given.items():
        if value:
            raise UserError(f"{option}: needs Ray, so it cannot be used with --executor in-process")
    return in_process


def _labels(given: Sequence[str]) -> dict[str, str]:
    """Read labels; Ray would take other signs for operators."""
    for text in given:
        if not _LABEL.fullmatch(text):
            raise UserError(f"--label {text}: expected KEY=VALUE, of letters, digits, and `-_./`")
    return dict(text.split("=", 1) for text in given)


def _pack_size(text: str, device: str) -> int:
    if text == "auto":
        return _PACK["cuda" if device == "cuda" or (device == "auto" and has_gpu()) else "cpu"]
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"--pack {text}: expected auto or a number from 1")
    return int(text)


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
        summary = f"Ran {outcome.ran} stages in {clock(outcome.seconds)}; {outcome.done} of {outcome.total} are stored."
        console.print(summary)


def _show_results(
    session: Session, *, console: Console, report: Path | None, wandb: Literal["online", "offline", "off"]
) -> None:
    from xlharm.analysis.table import results_table
    from xlharm.report.terminal import print_results

    print_results(results_table(session.plan, session.store), console)
    if wandb != "off":
        from xlharm.tracking.wandb import sync

        sync(session.plan, session.store, mode=wandb)
    if report is not None:
        from xlharm.report.html import write_report

        console.print(f"Report: {write_report(session.plan, session.store, report).absolute()}", soft_wrap=True)


def status(
    grid: GridPath,
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    watch: Annotated[bool, typer.Option("--watch", help="Update every two seconds until all stages are done.")] = False,
) -> None:
    """Show how many stages of a grid are done, running, failed and left, and why stages failed.

    \b
    xlharm status grid/quickstart.yaml
    xlharm status grid/quickstart.yaml --watch
    """
    session = open_grid(grid, store=store, overrides=overrides)
    console = terminal()
    while not _show_status(session, console) and watch:
        time.sleep(2)
        if sys.stdout.isatty():
            console.clear()


def _show_status(session: Session, console: Console) -> bool:
    plan = session.plan
    done = session.store.done(plan.stages)
    failures = session.store.failures({k: s for k, s in plan.stages.items() if k not in done})
    running = Leases(session.store).running()
    for kind in (kind for kind in KINDS if plan.naive[kind]):
        keys = [k for k, s in plan.stages.items() if s.kind == kind]
        counts = {
            "done": sum(k in done for k in keys),
            "running": sum(k[:16] in running and k not in done for k in keys),
            "failed": sum(k in failures for k in keys),
        }
        left = len(keys) - sum(counts.values())
        shown = ", ".join(f"{n} {name}" for name, n in {**counts, "left": left}.items() if n or name == "done")
        console.print(f"{kind:<12} {shown} of {len(keys)}")
    for failure in failures.values():
        _tell_failed(console, failure)
    cells = [c for c in plan.cells if all(k in done for k in c.leaves)]
    console.print(f"{len(cells)} of {len(plan.cells)} cells are complete")
    return len(done) == len(plan.stages)
