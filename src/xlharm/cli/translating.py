"""`xlharm data translate`: fill the missing languages of a corpus from English."""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from xlharm.cli.common import terminal
from xlharm.corpus.finding import corpus_folder
from xlharm.errors import UserError

if TYPE_CHECKING:  # they load an HTTP client, and this module is loaded with every command
    from xlharm.cli.translators import ChatSide, LocalSide
    from xlharm.corpus.translate.folder import Folder
    from xlharm.corpus.translate.translation import TranslationWork

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_SHOWN = 20  # failures listed; the report has all


def translate_(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A folder, or a shipped corpus such as newsroom.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to fill; CORPUS itself fills it in place.")],
    to: Annotated[list[str], typer.Option(metavar="LANG", help="Language to fill: --to de --to ur.")],
    model: Annotated[str, typer.Option(help="Folder or hub id of a model; with --endpoint its name there.")],
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask this chat-completions endpoint (https://…/v1).")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="NAME of the environment variable with the endpoint's key.")
    ] = None,
    price_in: Annotated[float | None, typer.Option(min=0, help="Price of a million prompt tokens.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Price of a million answer tokens.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before an endpoint is paid.")] = False,
    requests_per_minute: Annotated[float | None, typer.Option(min=0.01, help="Most requests in a minute.")] = None,
    max_in_flight: Annotated[int, typer.Option(min=1, help="Requests at the same time.")] = 8,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer (an item is one).")] = 8000,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 asks for the likeliest answer.")] = 0.0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one answer.")] = 300.0,
    revision: Annotated[str | None, typer.Option(help="Commit of a hub model; looked up and noted if none.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the model runs.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Sentences at once; halved when memory runs out.")] = 32,
    beams: Annotated[int, typer.Option(min=1, help="Width of the model's search.")] = 4,
    code: Annotated[
        list[str] | None, typer.Option(metavar="LANG=CODE", help="The model's own code of a language: ur=urd_Arab.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster whose workers share the items.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Ray workers; one per GPU by default.")] = None,
    back_translation: Annotated[
        bool, typer.Option("--back-translation/--no-back-translation", help="Score each item (doubles the cost).")
    ] = True,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed for good.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many items: a cheap trial.")] = None,
) -> None:
    """Fill the missing languages of a corpus from its English items; see docs/translation.md.

    With --endpoint a chat model translates each item in one structured answer. Without, a local NLLB-200 or M2M-100
    model does, sentence by sentence, on CPU or GPU; with --workers or --address on Ray workers. What is in OUT is never
    overwritten, and the same command again does only what is missing: answers that were paid for are kept.

    A translation is kept only if its fake article says the fake detail, its real one does not, and no question gives it
    away. What fails is listed with its reason, also in OUT/translate-report.jsonl. Each is put back into English and
    scored by chrF.

    Exit codes: 0 all there, 1 some items failed, 2 a mistake in the input, 130 interrupted.

    \b
    xlharm data translate newsroom my-news --to de --to ur --model facebook/nllb-200-distilled-600M --device cuda
    xlharm data translate my-news my-news --to ha --endpoint https://api.example.com/v1 --model NAME \\
        --api-key-env API_KEY --price-in 2.5 --price-out 10 --limit 3
    """
    from xlharm.cli.translators import ChatSide, LocalSide
    from xlharm.corpus.translate.folder import Folder
    from xlharm.corpus.translate.translation import work_of

    languages, source, console = _languages(to), corpus_folder(corpus), terminal()
    side: ChatSide | LocalSide
    if endpoint is not None:
        _only("--endpoint", {"--address": address, "--workers": workers, "--revision": revision, "--code": code})
        side = ChatSide.of(
            model=model, url=endpoint, api_key_env=api_key_env, price_in=price_in, price_out=price_out, yes=yes,
            requests_per_minute=requests_per_minute, max_in_flight=max_in_flight, max_tokens=max_tokens,
            temperature=temperature, timeout=timeout,
        )  # fmt: skip
    else:
        paid = {"--api-key-env": api_key_env, "--price-in": price_in, "--price-out": price_out}
        _only("a local model (no --endpoint)", {**paid, "--requests-per-minute": requests_per_minute})
        side = LocalSide(
            model=model, revision=revision, device=device, batch=batch_size, beams=beams, codes=_codes(code or ()),
            address=address, workers=workers,
        )  # fmt: skip
    maker = side.maker  # finds the model, before anything is written
    folder = Folder(source, out.expanduser(), languages=languages)
    try:
        work = work_of(folder, maker=maker, score=back_translation, retry_failed=retry_failed, limit=limit)
        finished = not work.steps or _run(work, folder, side, retry_failed=retry_failed, console=console)
    finally:
        folder.close()
    failed = _conclude(folder, console=console, finished=finished)
    raise typer.Exit(1 if failed else 0) if finished else typer.Exit(130)


def _languages(given: Sequence[str]) -> list[str]:
    for language in given:
        if language == "en":
            raise UserError("--to en: translations are made from English")
        if not _LANGUAGE.fullmatch(language):
            raise UserError(f"--to {language}: expected a language code such as de")
    return list(dict.fromkeys(given))


def _codes(given: Sequence[str]) -> dict[str, str]:
    for text in given:
        if not re.fullmatch(r"[^=\s]+=[^=\s]+", text):
            raise UserError(f"--code {text}: expected LANG=CODE, for example ur=urd_Arab")
    return dict(text.split("=", 1) for text in given)


def _only(where: str, others: dict[str, object]) -> None:
    for option, value in others.items():
        if value:
            raise UserError(f"{option}: means nothing with {where}")


def _run(
    work: "TranslationWork", folder: "Folder", side: "ChatSide | LocalSide", *, retry_failed: bool, console: Console
) -> bool:
    """Do the work under a progress bar; returns whether it came to its end."""
    from xlharm.cli.translators import Steps
    from xlharm.corpus.translate.translation import translate
    from xlharm.engine.signals import interruptions
    from xlharm.engine.trouble import EngineError

    side.agree(work, folder, console)
    try:
        with interruptions() as stop:

            def stopped() -> bool:
                return stop.hit

            with side.backend(work, folder, stopped=stopped) as backend, Steps(console, total=work.steps) as steps:
                stop.install()  # starting Ray may have put its own handlers in place
                return translate(
                    work, folder, backend, maker=side.maker, retry_failed=retry_failed, on_step=steps.show,
                    stopped=stopped,
                )  # fmt: skip
    except EngineError as error:
        console.print(f"{error}: what was finished is kept; run the same command again", style="red", markup=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        folder.close()
        console.print("Ended at once; what was finished is kept. Run the same command again to go on.")
        sys.stdout.flush()
        os._exit(130)  # requests that are under way would be waited for


def _conclude(folder: "Folder", *, console: Console, finished: bool) -> int:
    """Show what there is; returns how many items of the wanted languages failed."""
    table = Table(box=None)
    for name in ("language", "items", "made", "failed", "missing", "chrF", "lowest"):
        table.add_column(name, justify="left" if name in {"language", "lowest"} else "right")
    failures = []
    for language in folder.languages:
        made, failed = folder.rows(language, "made"), folder.rows(language, "failed")
        failures += failed
        scores = sorted((row.chrf, row.item) for row in made if row.chrf is not None)
        mean = f"{sum(score for score, _ in scores) / len(scores):.1f}" if scores else "–"
        lowest = f"{scores[0][0]:.1f} {scores[0][1]}" if scores else ""
        there = folder.count(language)
        missing = max(0, len(folder.english) - there - len(failed))
        table.add_row(language, str(there), str(len(made)), str(len(failed)), str(missing), mean, lowest)
    console.print(table)
    for row in failures[:_SHOWN]:
        told = f"failed: {row.language}: {row.item}: {row.problem}: {row.reason}"
        console.print(told, style="red", markup=False, soft_wrap=True)
    if len(failures) > _SHOWN:
        console.print(f"… and {len(failures) - _SHOWN} more", style="red")
    _hints(folder, console=console, finished=finished, failed=len(failures))
    return len(failures)


def _hints(folder: "Folder", *, console: Console, finished: bool, failed: int) -> None:
    for language in folder.languages:
        for name in folder.stale(language):
            told = f"note: {language}: {name}: its English has changed since; delete its line to make it again"
            console.print(told, markup=False, soft_wrap=True)
    if not finished:
        console.print(f"Stopped. Go on with: {shlex.join(['xlharm', *sys.argv[1:]])}", markup=False, soft_wrap=True)
        return
    if failed:
        told = "the same command with --retry-failed (or another --model) tries them again"
        console.print(f"{failed} failed and not in the corpus; {told}", markup=False, soft_wrap=True)
    console.print(f"{folder.path}: now check it: xlharm data validate {folder.path}", markup=False, soft_wrap=True)
