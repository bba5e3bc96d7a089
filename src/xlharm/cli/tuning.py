"""`xlharm tune`: searches the numeric settings of an unlearning method in one cell, with Ray Tune."""

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
from xlharm.report.console import Terminal
from xlharm.store.lease import Leases
from xlharm.store.ledger import Algorithm, Ledger, SearchState, TrialEntry, load_search
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
            help="The cell, as contaminate/unlearn/method/seed. Parts may be left out if one cell fits. "
            "Without a seed, all seeds of the grid are trained together, and QR must be kept with each of them.",
        ),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=…",
            help="Values to search for a numeric setting of the method: LOW..HIGH, LOW..HIGH:log or A,B,C. May be "
            "given repeatedly. Default: learning_rate and retain_weight (or alpha) around the grid's values.",
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, help="Number of trials, including earlier ones of the same search.")
    ] = 16,
    scheduler: Annotated[
        Literal["asha", "none"],
        typer.Option(
            help="asha: first train a third of the steps, and stop trials that are worse than others there; "
            "none: train all trials to the end."
        ),
    ] = "asha",
    algorithm: Annotated[
        Algorithm,
        typer.Option(
            help="random: points that cover the space evenly; optuna: tree-structured Parzen estimator "
            "(pip install 'xlharm[tune]')."
        ),
    ] = "random",
    max_qr_fall: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            min=0,
            max=100,
            help="Largest fall of QR, in percent of QR before unlearning. Default: 20, as for damage in reports.",
        ),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(help="Corpus to choose settings on. Default: the grid's corpus with -dev added, if there is one."),
    ] = None,
    items: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Ask only the first N questions of each measure: faster, but less precise."
        ),
    ] = None,
    max_concurrent: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of trials at the same time. Default: one for each GPU, or one on a CPU machine."
        ),
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="Address of a Ray cluster. Default: start one on this machine."),
    ] = None,
    overrides: Overrides = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device to compute on.")] = "auto",
    gpus_per_worker: Annotated[
        float, typer.Option(metavar="SHARE", help="GPUs of each trial: 0.25 puts four trials on each GPU.")
    ] = 1.0,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Write the best settings into the grid file. Without it, you are asked on a terminal."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs; progress goes to stderr.")] = False,
) -> None:
    """Search the numeric settings of an unlearning method in one cell.

    The best trial is the one with the lowest OF (occurrence of the fake) among those whose QR (quality on the real)
    falls by at most 20 %.

    Every trial is trained for several numbers of steps (rungs), each as a run of its own that is stored like any other
    stage. So after Ctrl-C or a kill, the same command computes only what is missing. Settings are chosen on another
    corpus than results are reported on (tinyworld-dev for tinyworld) and written into the grid file as plain values.
    Run the grid to get the numbers to report.

    Exit codes: 0 there is a best trial, 1 no trial kept QR (nothing is written), 2 a mistake in the input,
    130 interrupted.

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
    request = _Asked(
        grid=grid, store=store, overrides=overrides, cell=cell, search=search or [], halving=scheduler == "asha",
        corpus=corpus, items=items,
    )  # fmt: skip
    console = Terminal(stderr=True) if as_json else terminal()
    session, typed = request.opened(console)
    problem = unwritable(grid, method=typed.method, name=typed.name)
    if problem and write:
        raise UserError(problem)
    session.grid.remember()
    work = load_search(session.store, typed, algorithm=algorithm)
    options = RunOptions(
        pack=len(typed.grid.seeds), workers=max_concurrent, device=device, address=address,
        gpus_per_worker=gpus_per_worker,
    )  # fmt: skip
    if not _run(session.store, work, options, trials=trials, fall=fall, console=console):
        _stopped(work, trials=trials, console=console)
        raise typer.Exit(130)
    results = findings(work.tuning, work.ledger.tried, session.store, fall=fall)
    if not as_json:
        _show(results, console)
    changes = _changes(grid, results)
    wanted = bool(changes) and not problem and (write or (not as_json and _confirmed(grid, changes)))
    if wanted:
        _write(grid, results, changes=changes, source=f"search {work.name[:8]}", overrides=overrides or [])
        _, after = request.opened(Console(quiet=True))
        work.under(after).save(session.store)  # so that the same command continues this search
    if as_json:
        typer.echo(json.dumps({**plain(results), "written": wanted}, indent=1))
    raise typer.Exit(_verdict(grid, results, changes=changes, written_to=wanted, problem=problem, console=console))


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The options of the command line that define the search."""

    grid: Path
    store: str
    overrides: list[str] | None
    cell: str | None
    search: list[str]
    halving: bool
    corpus: str | None
    items: int | None

    def opened(self, console: Console) -> tuple[Session, Tuning]:
        """Load the grid, and return it with the search that the options define."""
        session = open_grid(self.grid, store=self.store, overrides=self.overrides, writes=True)
        plan = session.plan
        corpus, other = corpus_to_tune_on(plan.grid, named=self.corpus, grid_path=self.grid)
        cut = cut_down(plan.grid, cells_meant(plan, self.cell), corpus=corpus, questions=self.items)
        sources = resolve(cut, grid_path=self.grid)
        tuning = Tuning.of(cut, sources=sources, dtype=plan.dtype, search=self.search, halving=self.halving)
        if not other:
            console.print(
                f"warning: settings are chosen on {corpus}, on which results are reported, too: the best trial's OF "
                "will look better than it is (choose on another one with --corpus)", style="yellow", markup=False,
                soft_wrap=True,
            )  # fmt: skip
        return session, tuning


def _need_optuna() -> None:
    try:
        import optuna  # noqa: F401 - only whether it is there
    except ImportError:
        raise UserError("--algorithm optuna: optuna is not installed: pip install 'xlharm[tune]'") from None


def _run(store: Store, work: SearchState, options: RunOptions, *, trials: int, fall: float, console: Console) -> bool:
    """Run the missing trials; return False if the search was stopped."""
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

    prepare(options.address)  # before anything imports Ray; a finished search returns above, without Ray
    from xlharm.analysis.trials import score
    from xlharm.engine.tune.search import Search, run_search

    search = Search(state=work, store=store, trials=trials, score=partial(score, fall=fall), options=options)
    with Leases(store) as leases:
        if not leases.claim(f"tune-{work.name}"):
            raise UserError(f"--store {store.url}: another process is running the same search")
        with console.status("Ray Tune: the first trial also trains the model before unlearning") as status:

            def show(trial: TrialEntry, setting: Point, result: Mapping[str, Any]) -> None:
                _tell(console, work.ledger, trial, setting, result)
                status.update(
                    f"Ray Tune: {sum(bool(t.ended) for t in work.ledger.tried)} of {trials} trials have ended"
                )

            return run_search(search, on_result=show)


def _tell(console: Console, ledger: Ledger, trial: TrialEntry, setting: Point, result: Mapping[str, Any]) -> None:
    """Print one line about a trial's result."""
    shown = "  ".join(f"{field}={written(value)}" for field, value in setting.items())
    if "of" in result:
        ends = {"stopped": ": stopped, others are better", "": ": continues"}.get(trial.ended, "")
        what = f"OF {result['of']:.1f}, QR {result['utility']:.0f} % of before{ends}"
    else:
        what = f"failed: {trial.why}"
    console.print(f"trial {ledger.tried.index(trial) + 1:>2}  {shown}  {what}", markup=False, soft_wrap=True)


def _stopped(work: SearchState, *, trials: int, console: Console) -> None:
    ended = sum(bool(t.ended) for t in work.ledger.tried)
    console.print(f"Stopped. {ended} of {trials} trials have ended; finished stages are stored", markup=False)
    console.print(f"go on with: {shlex.join(['xlharm', *sys.argv[1:]])}", markup=False, soft_wrap=True)


def _show(results: "Found", console: Console) -> None:
    from xlharm.analysis.trials import table_of

    console.print(table_of(results))
    before = next((row.measured.whole for row in results.rows if row.measured), None)
    if before:
        console.print(
            f"Before unlearning: OF {before.before:.1f}, QR {before.qr_before:.1f}. OF: occurrence of the fake; QR: "
            "quality on the real, in percent. Means over languages, seeds and items; 95 % bootstrap intervals over "
            "items. ▶ lowest OF among the trials that kept QR."
        )
    if results.close:
        console.print(f"{results.close} more trials kept QR, and the intervals of their OF overlap the best trial's.")


def _confirmed(path: Path, changes: Point) -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    values = ", ".join(f"{field}: {written(value)}" for field, value in changes.items())
    return typer.confirm(f"Write {values} into {path}?")


def _changes(path: Path, results: "Found") -> Point:
    from xlharm.config.write_back import differing

    winner = results.winner
    return differing(path, method=results.tuning.changed(winner.setting), name=results.tuning.name) if winner else {}


def _write(path: Path, results: "Found", *, changes: Point, source: str, overrides: list[str]) -> None:
    """Write the best trial's numbers into the grid file, atomically."""
    from xlharm.analysis.table import write_file
    from xlharm.config.write_back import written_back

    source = ", ".join([source, *(f"-s {x}" for x in overrides)])
    comment = f"{results.summary}; {source}, xlharm {__version__}, {dt.datetime.now(dt.UTC).date()}"
    target = path.resolve()  # the file itself, if `path` is a link
    text, mode = target.read_text(encoding="utf-8"), target.stat().st_mode
    changed = written_back(text, method=results.tuning.name, values=changes, comment=comment, name=str(path))
    write_file(target, changed.encode("utf-8"))
    target.chmod(mode)


def _verdict(path: Path, results: "Found", *, changes: Point, written_to: bool, problem: str, console: Console) -> int:
    """Print whether the best trial's numbers were written, and return the exit code."""
    if results.winner is None:
        console.print(
            f"No trial kept QR within {written(results.fall)} % of before: nothing is written. Try lower learning "
            "rates, fewer steps or a stronger retain term.", style="red", markup=False, soft_wrap=True,
        )  # fmt: skip
        return 1
    values = ", ".join(f"{field}: {written(value)}" for field, value in changes.items())
    if not changes:
        console.print("The grid's own values are the best of all trials: nothing to write.")
    elif written_to:
        console.print(f"Written to {path}: {values}. Next: xlharm run {path}", markup=False, soft_wrap=True)
    else:
        why = problem or f"--write writes them into {path}"
        console.print(f"Not written ({why}): {values}", markup=False, soft_wrap=True)
    return 0
