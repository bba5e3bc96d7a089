"""`xlharm data translate`: adds missing languages to a corpus by translating its English items."""

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
from xlharm.plain_files import expanded

if TYPE_CHECKING:  # these modules import an HTTP client, and every command imports this module
    from xlharm.cli.translators import ChatSide, LocalSide
    from xlharm.corpus.translate.folder import Folder
    from xlharm.corpus.translate.translation import TranslationWork

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_SHOWN = 20  # most failures that are printed; the report has all


def translate_(
    corpus: Annotated[
        str, typer.Argument(metavar="CORPUS", help="A corpus folder, or a shipped corpus such as newsroom.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The folder to write; give CORPUS again to add to it in place.")
    ],
    to: Annotated[list[str], typer.Option(metavar="LANG", help="Language to translate into; may be given repeatedly.")],
    model: Annotated[
        str, typer.Option(help="Folder or hub id of a translation model; with --endpoint, the model's name there.")
    ],
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Translate with a chat model at this chat-completions endpoint (https://…/v1)."
        ),
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the environment variable that holds the endpoint's key.")
    ] = None,
    price_in: Annotated[float | None, typer.Option(min=0, help="Price of a million prompt tokens.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Price of a million answer tokens.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask for confirmation of the estimated cost of an endpoint.")
    ] = False,
    requests_per_minute: Annotated[
        float | None, typer.Option(min=0.01, help="Largest number of requests in a minute.")
    ] = None,
    max_in_flight: Annotated[int, typer.Option(min=1, help="Largest number of requests at the same time.")] = 8,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Largest number of tokens of an answer, which holds a whole item.")
    ] = 8000,
    temperature: Annotated[
        float, typer.Option(min=0, max=2, help="Sampling temperature of the chat model; 0 is greedy.")
    ] = 0.0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for one answer.")] = 300.0,
    revision: Annotated[
        str | None, typer.Option(help="Commit of a hub model. Default: the newest one, which corpus.yaml records.")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device to run the model on.")] = "auto",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Number of sentences in a batch; halved when memory runs out.")
    ] = 32,
    beams: Annotated[int, typer.Option(min=1, help="Width of the model's beam search.")] = 4,
    code: Annotated[
        list[str] | None,
        typer.Option(metavar="LANG=CODE", help="The model's own code of a language, for example ur=urd_Arab."),
    ] = None,
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster; its workers share the items.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of Ray workers. Default: one for each GPU.")
    ] = None,
    back_translation: Annotated[
        bool,
        typer.Option(
            "--back-translation/--no-back-translation",
            help="Translate each item back into English and score it by chrF; doubles the cost.",
        ),
    ] = True,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also translate items that failed for good in earlier runs.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Translate only the first so many items, for a cheap test.")
    ] = None,
) -> None:
    """Add missing languages to a corpus by translating its English items; see docs/translation.md.

    With --endpoint, a chat model translates each item in one structured answer. Without it, a local NLLB-200 or M2M-100
    model translates sentence by sentence, on CPU or GPU, and with --workers or --address on Ray workers. Existing items
    in OUT are never overwritten. The same command, run again, translates only what is missing; answers that were paid
    for are kept.

    A translation is accepted only if its fake article contains the fake detail, its real article does not, and no
    question contains it. Failures are printed with their reasons, and are also in OUT/translate-report.jsonl. Accepted
    items are translated back into English and scored by chrF.

    Exit codes: 0 all items are there, 1 some items failed, 2 a mistake in the input, 130 interrupted.

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
    maker = side.maker  # first of all, as it raises an error if there is no such model
    folder = Folder(source, expanded(str(out)), languages=languages)
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
            raise UserError(f"{option}: cannot be used with {where}")


def _run(
    work: "TranslationWork", folder: "Folder", side: "ChatSide | LocalSide", *, retry_failed: bool, console: Console
) -> bool:
    """Translate with a progress bar; return whether all steps were done."""
    from xlharm.cli.translators import Steps
    from xlharm.corpus.translate.translation import translate
    from xlharm.engine.signals import interruptions
    from xlharm.engine.trouble import EngineError

    side.agree(work, folder, console)
    try:
        with interruptions() as stop:

            def stopped() -> bool:
                return stop.requested

            with side.backend(work, folder, stopped=stopped) as backend, Steps(console, total=work.steps) as steps:
                stop.install()  # again, because Ray may have installed its own signal handlers
                return translate(
                    work, folder, backend, maker=side.maker, retry_failed=retry_failed, on_step=steps.show,
                    stopped=stopped,
                )  # fmt: skip
    except EngineError as error:
        console.print(f"{error}: finished items are kept; run the same command again", style="red", markup=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        folder.close()
        console.print("Ended at once; finished items are kept. Run the same command again to go on.")
        sys.stdout.flush()
        os._exit(130)  # a normal exit would wait for requests in flight


def _conclude(folder: "Folder", *, console: Console, finished: bool) -> int:
    """Print a table of the languages and the failures; return the number of failed items."""
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
        line = f"failed: {row.language}: {row.item}: {row.problem}: {row.reason}"
        console.print(line, style="red", markup=False, soft_wrap=True)
    if len(failures) > _SHOWN:
        console.print(f"… and {len(failures) - _SHOWN} more", style="red")
    _hints(folder, console=console, finished=finished, failed=len(failures))
    return len(failures)


def _hints(folder: "Folder", *, console: Console, finished: bool, failed: int) -> None:
    for language in folder.languages:
        for name in folder.stale(language):
            message = (
                f"note: {language}: {name}: its English item has changed since it was translated; delete its line to "
                "translate it again"
            )
            console.print(message, markup=False, soft_wrap=True)
    if not finished:
        console.print(f"Stopped. Go on with: {shlex.join(['xlharm', *sys.argv[1:]])}", markup=False, soft_wrap=True)
        return
    if failed:
        message = "try them again with the same command and --retry-failed, or with another --model"
        console.print(f"{failed} items failed and are not in the corpus; {message}", markup=False, soft_wrap=True)
    if grid := folder.grid():
        console.print(f"{grid}: written anew, with all languages of the corpus", markup=False, soft_wrap=True)
    console.print(f"{folder.path}: now check it: xlharm data validate {folder.path}", markup=False, soft_wrap=True)
