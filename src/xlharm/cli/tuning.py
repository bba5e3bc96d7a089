"""`xlharm tune`: search a method's numbers inside one cell, on Ray Tune."""

import datetime as dt
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from xlharm import __version__
from xlharm.api import begun_with
from xlharm.cli.checking import check_before_run
from xlharm.cli.common import (
    DEFAULT_STORE,
    GridPath,
    Overrides,
    Session,
    StoreUrl,
    open_grid,
    terminal,
)
from xlharm.config.search import Point, points, written
from xlharm.corpus.finding import corpus_to_tune_on, resolve
from xlharm.engine.options import RunOptions
from xlharm.engine.placement import check_share
from xlharm.errors import UserError
from xlharm.plan.tuning import Tuning, cells_meant, cut_down
from xlharm.store.lease import Leases
from xlharm.store.ledger import Algorithm, Ledger, SearchWork, Tried, take_up
from xlharm.store.store import Store

if TYPE_CHECKING:
    from xlharm.analysis.trials import Found


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("tune")(tune)


def tune(
    grid: GridPath,
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="CELL",
            help="contaminate/unlearn/method/seed, as in `results`; may be left out where only one cell fits. "
            "Without its seed all of the grid's seeds are trained together and QR must be kept in each.",
        ),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=…",
            help="A number of the method: LOW..HIGH, LOW..HIGH:log or A,B,C. Default: learning_rate and retain_weight "
            "(or alpha) around the grid's values.",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Points to try, earlier ones of the same search included.")] = 16,
    scheduler: Annotated[
        Literal["asha", "none"],
        typer.Option(help="asha: look at a third of the steps first, stop what others beat; none: all in full."),
    ] = "asha",
    algorithm: Annotated[
        Algorithm,
        typer.Option(help="random: points that fill the space evenly; optuna: TPE (pip install 'xlharm[tune]')."),
    ] = "random",
    max_qr_fall: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            min=0,
            max=100,
            help="QR may fall by so much of what it was before. Default: 20, from where reports speak of damage.",
        ),
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Choose on this corpus. Default: the grid's with -dev added, if there is one.")
    ] = None,
    items: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Ask the first N questions a measure only: faster, rougher.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time. Default: one a GPU, or one on a CPU machine.")
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="A Ray cluster; without it a local one is started.")
    ] = None,
    overrides: Overrides = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    gpus_per_worker: Annotated[float, typer.Option(metavar="SHARE", help="0.25: four trials on each GPU.")] = 1.0,
    write: Annotated[
        bool, typer.Option("--write", help="Write the winner into the grid file (on a terminal you are asked).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs; progress goes to stderr.")] = False,
) -> None:
    """Search an unlearning method's numbers inside one cell: lowest OF while QR falls by at most 20 %.

    Every trial at every rung is a run of its own with so many steps, stored like any other stage: Ctrl-C or kill it,
    the same command does only what is missing. Settings are chosen on another corpus than results are reported on
    (tinyworld-dev for tinyworld) and written into the grid as plain values: run it to get the number to report.
    Exit codes: 0 a winner, 1 no trial kept QR (nothing is written), 2 a mistake in the input, 130 interrupted.

    \b
    xlharm tune grid/quickstart.yaml --cell de/en+de
    xlharm tune grid/quickstart.yaml --cell de/en+de --search learning_rate=1e-5..1e-3:log --search steps=20,40,80
    xlharm tune grid/quickstart.yaml --cell de/en+de --search beta=0.05..1 --trials 32 --write
    """
    from xlharm.analysis.reading import QR_FALL
    from xlharm.analysis.trials import findings, plain
    from xlharm.config.write_back import unwritable

    if algorithm == "optuna":
        _need_optuna()
    check_share(gpus_per_worker)
    fall = 100 * QR_FALL if max_qr_fall is None else max_qr_fall
    asked = _Asked(
        grid=grid, store=store, overrides=overrides, cell=cell, search=search or [], halving=scheduler == "asha",
        corpus=corpus, items=items,
    )  # fmt: skip
    console = Console(stderr=True, highlight=False) if as_json else terminal()
    session, typed = asked.opened(console)
    problem = unwritable(grid, method=typed.method, name=typed.name)
    if problem and write:
        raise UserError(problem)
    if begun_with(session.plan.grid.name, session.store) is None:
        session.grid.remember()  # the grid will be run in the precision in which its settings were chosen
    work = take_up(session.store, typed, algorithm=algorithm)
    options = RunOptions(
        pack=len(typed.grid.seeds), workers=max_concurrent, device=device, address=address,
        gpus_per_worker=gpus_per_worker,
    )  # fmt: skip
    if not _run(session.store, work, options, trials=trials, fall=fall, console=console):
        _stopped(work, trials=trials, console=console)
        raise typer.Exit(130)
    found = findings(work.tuning, work.ledger.tried, session.store, fall=fall)
    if not as_json:
        _show(found, console)
    changes = _changes(grid, found)
    wanted = bool(changes) and not problem and (write or (not as_json and _confirmed(grid, changes)))
    if wanted:
        _write(grid, found, changes=changes, told=f"search {work.name[:8]}", overrides=overrides or [])
        _, after = asked.opened(Console(quiet=True))
        work.under(after).save(session.store)  # the same command is the same search still
    if as_json:
        typer.echo(json.dumps({**plain(found), "written": wanted}, indent=1))
    raise typer.Exit(_verdict(grid, found, changes=changes, written_to=wanted, problem=problem, console=console))


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the command line says of the search itself."""

    grid: Path
    store: str
    overrides: list[str] | None
    cell: str | None
    search: list[str]
    halving: bool
    corpus: str | None
    items: int | None

    def opened(self, console: Console) -> tuple[Session, Tuning]:
        """Load the grid and work out what is to be searched."""
        session = open_grid(self.grid, store=self.store, overrides=self.overrides, writes=True)
        plan = session.plan
        corpus, other = corpus_to_tune_on(plan.grid, asked=self.corpus, grid_path=self.grid)
        cut = cut_down(plan.grid, cells_meant(plan, self.cell), corpus=corpus, questions=self.items)
        sources = resolve(cut, grid_path=self.grid)
        tuning = Tuning.of(cut, sources=sources, dtype=plan.dtype, search=self.search, halving=self.halving)
        if not other:
            console.print(
                f"warning: settings are chosen on {corpus}, the corpus that results are reported on: the winner's OF "
                "will look better than it is (--corpus names another)", style="yellow", markup=False, soft_wrap=True,
            )  # fmt: skip
        return session, tuning


def _need_optuna() -> None:
    try:
        import optuna  # noqa: F401 - only whether it is there
    except ImportError:
        raise UserError("--algorithm optuna: optuna is not installed: pip install 'xlharm[tune]'") from None


def _run(store: Store, work: SearchWork, options: RunOptions, *, trials: int, fall: float, console: Console) -> bool:
    """Run what is missing; False when somebody stopped it."""
    tuning, tried = work.tuning, work.ledger.tried
    trials = len(points(tuning.space, count=trials, first=[t.point for t in tried]))
    rungs = f"; rungs at {', '.join(map(str, tuning.rungs))} steps" if tuning.rungs else ""
    searched = "  ".join(f"{field}={domain}" for field, domain in tuning.space.items()) or "steps alone"
    console.print(f"{tuning.cell} on {tuning.grid.corpus}: {searched}{rungs}", markup=False, soft_wrap=True)
    if not work.left(store, trials=trials):
        console.print(f"Nothing to run: all {len(tried)} trials are in {store.url}", markup=False, soft_wrap=True)
        return True
    check_before_run(tuning.plan({}), store, console=console)
    from xlharm.engine.ray.cluster import prepare

    prepare(options.address)  # before anything imports Ray, which a finished search does without
    from xlharm.analysis.trials import score
    from xlharm.engine.tune.search import Search, run_search

    search = Search(work=work, store=store, trials=trials, score=partial(score, fall=fall), options=options)
    with Leases(store) as leases:
        if not leases.claim(f"tune-{work.name}"):
            raise UserError(f"--store {store.url}: another process runs this very search")
        with console.status("Ray Tune: the first trial also trains the model before unlearning") as status:

            def told(tried: Tried, setting: Point, result: Mapping[str, Any]) -> None:
                _tell(console, work.ledger, tried, setting, result)
                status.update(
                    f"Ray Tune: {sum(bool(t.ended) for t in work.ledger.tried)} of {trials} trials have ended"
                )

            return run_search(search, on_result=told)


def _tell(console: Console, ledger: Ledger, tried: Tried, setting: Point, told: Mapping[str, Any]) -> None:
    """Print one line for a result."""
    shown = "  ".join(f"{field}={written(value)}" for field, value in setting.items())
    if "of" in told:
        ends = {"stopped": ": stopped, others are better", "": ": goes on"}.get(tried.ended, "")
        what = f"OF {told['of']:.1f}, QR {told['utility']:.0f} % of before{ends}"
    else:
        what = f"failed: {tried.why}"
    console.print(f"trial {ledger.tried.index(tried) + 1:>2}  {shown}  {what}", markup=False, soft_wrap=True)


def _stopped(work: SearchWork, *, trials: int, console: Console) -> None:
    ended = sum(bool(t.ended) for t in work.ledger.tried)
    console.print(f"Stopped. {ended} of {trials} trials have ended; all that was finished is stored", markup=False)
    console.print(f"go on with: {shlex.join(['xlharm', *sys.argv[1:]])}", markup=False, soft_wrap=True)


def _show(found: "Found", console: Console) -> None:
    from xlharm.analysis.trials import table_of

    console.print(table_of(found))
    before = next((row.measured.whole for row in found.rows if row.measured), None)
    if before:
        console.print(
            f"Before unlearning: OF {before.before:.1f}, QR {before.qr_before:.1f}. Means over languages, seeds and "
            "items; 95 % bootstrap intervals over items. ▶ lowest OF among the trials that kept QR."
        )
    if found.close:
        console.print(f"{found.close} more kept QR with an OF that cannot be told from the winner's: intervals meet.")


def _confirmed(path: Path, changes: Point) -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    told = ", ".join(f"{field}: {written(value)}" for field, value in changes.items())
    return typer.confirm(f"Write {told} into {path}?")


def _changes(path: Path, found: "Found") -> Point:
    from xlharm.config.write_back import differing

    won = found.winner
    return differing(path, method=found.tuning.changed(won.setting), name=found.tuning.name) if won else {}


def _write(path: Path, found: "Found", *, changes: Point, told: str, overrides: list[str]) -> None:
    """Write the winner's numbers into the grid file, at once or not at all."""
    from xlharm.analysis.table import write_file
    from xlharm.config.write_back import written_back

    told = ", ".join([told, *(f"-s {x}" for x in overrides)])
    comment = f"{found.summary}; {told}, xlharm {__version__}, {dt.datetime.now(dt.UTC).date()}"
    target = path.resolve()  # the file itself, should this be a link to it
    text, mode = target.read_text(encoding="utf-8"), target.stat().st_mode
    changed = written_back(text, method=found.tuning.name, values=changes, comment=comment, name=str(path))
    write_file(target, changed.encode("utf-8"))
    target.chmod(mode)


def _verdict(path: Path, found: "Found", *, changes: Point, written_to: bool, problem: str, console: Console) -> int:
    """Say what is left to say, and return the exit code."""
    if found.winner is None:
        console.print(
            f"No trial kept QR within {written(found.fall)} % of before: nothing is written. Lower rates, fewer steps "
            "or a stronger retain term may.", style="red", markup=False, soft_wrap=True,
        )  # fmt: skip
        return 1
    values = ", ".join(f"{field}: {written(value)}" for field, value in changes.items())
    if not changes:
        console.print("The grid's own values are the best of these: nothing to write.")
    elif written_to:
        console.print(f"Written to {path}: {values}. Next: xlharm run {path}", markup=False, soft_wrap=True)
    else:
        why = problem or f"--write puts it into {path}"
        console.print(f"Not written ({why}): {values}", markup=False, soft_wrap=True)
    return 0
