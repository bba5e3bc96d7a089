"""`xlharm base`: make base folders, and try bases out."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from xlharm import api
from xlharm.cli.common import terminal
from xlharm.cli.planning import clock
from xlharm.parallel import usable_cores

if TYPE_CHECKING:
    from xlharm.engine.base_check import BaseReport


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Base models: make a folder that grids can name, and try a base out.", no_args_is_help=True
    )
    group.command("import")(import_)
    group.command("check")(check)
    app.add_typer(group, name="base")


def import_(
    source: Annotated[str, typer.Argument(help="A GGUF file, a folder, or a hub id such as google/gemma-3-270m.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; it must not exist or must be empty.")],
    revision: Annotated[
        str | None, typer.Option(help="Commit, branch or tag of a hub model. Default: its newest commit.")
    ] = None,
    dtype: Annotated[
        Literal["bfloat16", "float32"], typer.Option(help="Number type of the weights of a GGUF file.")
    ] = "bfloat16",
) -> None:
    """Make a base folder: safetensors, configuration, tokenizer, and BASE.md, a note on origin and licence.

    A GGUF file is dequantised (this needs `pip install 'xlharm[gguf]'`). Weights in safetensors are copied as they are.
    Name the folder as `base` in a grid: no network is needed then, and results do not depend on the path.

    \b
    xlharm base import gemma-3-270m-Q4_K_M.gguf bases/gemma
    xlharm base import google/gemma-3-270m bases/gemma      # HF_TOKEN in the environment for gated models
    """
    console = terminal()
    with console.status(f"Reading {source}"):
        from xlharm.model.base_import import import_base

        done = import_base(source, out, revision=revision, dtype=dtype)
    size = done.base.size / 1e6
    console.print(f"{out}: {size:,.0f} MB of weights, digest {done.base.digest[:16]}", markup=False, soft_wrap=True)
    console.print(f"Licence: {done.license or 'not named by the source'}", markup=False, soft_wrap=True)
    console.print(f"In a grid: base: {out}", markup=False, soft_wrap=True)


def check(
    base: Annotated[str, typer.Argument(help="A folder, a shipped base, or a hub id that is in the hub's cache.")],
    grid: Annotated[
        Path | None,
        typer.Option(help="Grid file: its settings, languages and corpus. Default: nine shipped languages."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit of a hub model. Default: the one that the cache knows as main.")
    ] = None,
    path: Annotated[
        Literal["auto", "fast", "generic"], typer.Option(help="How the base runs (docs/families.md).")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Check a base as workers do when they start, and show its path, speed, memory, texts and tokens.

    A base that does not pass is refused with one line and exit code 2. The measured speed is kept for `xlharm plan`.

    \b
    xlharm base check bases/gemma
    xlharm base check bases/gemma --grid grid/study.yaml
    """
    with terminal().status(f"Checking {base}"):
        from xlharm.engine.base_check import check as tried

        report = tried(api.base_plan(base, grid=grid, revision=revision, path=path))
    if as_json:
        typer.echo(json.dumps({"base": base, **asdict(report)}, indent=1))
        return
    console = terminal()
    shown = Table(title=base, title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True, style="bold")
    shown.add_column(overflow="fold")
    for name, text in _lines(report):
        shown.add_row(name, text)
    console.print(shown)
    console.print(_languages(report))


def _lines(report: "BaseReport") -> Iterator[tuple[str, str]]:
    measured, memory = report.measured, report.memory
    where = "a GPU" if measured.device == "cuda" else f"{usable_cores()} CPU cores"
    yield "base", f"{report.family}, {report.parameters / 1e6:,.0f} M parameters, digest {report.digest[:16]}"
    yield "path", _path(report)
    yield "checks", f"passed. {measured.compared}"
    yield "speed", f"in {report.dtype} on {where}, start-up {clock(measured.start)}"
    for kind, steps in measured.steps.items():
        trials = "1 trial" if measured.slots[kind] == 1 else f"{measured.slots[kind]} trials"
        step = f"{steps.seconds:.2g} s a step of {trials}"
        yield "", f"{kind}: {steps.tokens / steps.seconds:,.0f} tokens/s, {step}"
    if measured.answers is not None and measured.answers.new:
        yield "", f"evaluate: {measured.answers.new / measured.answers.seconds:,.0f} new tokens/s"
    yield "memory", f"{_size(memory.weights)} weights; {_size(memory.trial)} for each trial's adapter and optimiser"
    row = f"about {_size(memory.row)} for a row of {memory.row_tokens} tokens in training, and {_size(memory.logits)}"
    yield "", f"{row} for its logits" + (f"; measured peak {_size(memory.peak)}" if memory.peak else "")
    layers = f"{', '.join(report.targets)}: {report.share:.0%} of the base's weights"
    yield "adapters", f"rank {report.rank} on {layers}"
    yield from _texts(report)


def _path(report: "BaseReport") -> str:
    if report.path != "generic":
        return report.path
    if report.fast_refusal is None:
        return "generic, although the fast path would pass its checks (docs/families.md)"
    return f"generic: the fast path refuses it: {report.fast_refusal}"


def _texts(report: "BaseReport") -> Iterator[tuple[str, str]]:
    texts = report.texts
    by = "what its tokenizer does by itself" if texts.bos is None else "as the grid's prompt.bos says"
    yield "a text", f"begins with {' '.join(texts.begins) or 'no special token'}, {by}"
    if texts.positions is not None:
        yield "", f"has at most {texts.positions:,} tokens"
    yield "a question", f"is written {texts.question[0]!r}, the question, {texts.question[1]!r}"
    yield "an answer", f"ends at {' '.join(texts.ends) or 'no token'}"
    if texts.chat is not None:
        yield "chat", "has a chat template: if the base is instruction-tuned, put `prompt: chat` into the grid."
        yield "", f"A question is then {texts.chat[0]!r}, the question, {texts.chat[1]!r}"
    elif texts.chat_refusal:
        yield "chat", f"has a chat template that cannot be used: {texts.chat_refusal}"
    else:
        yield "chat", "no chat template: `prompt: chat` is refused, and a base model needs none"


def _languages(report: "BaseReport") -> Table:
    title = f"Articles of {report.corpus} in tokens"
    table = Table(title=title, title_justify="left", box=None)
    for name in ("language", "tokens a character", "relative to en", "longest"):
        table.add_column(name, justify="left" if name == "language" else "right")
    for row in report.texts.languages:
        table.add_row(row.language, f"{row.per_character:.3f}", f"{row.relative:.2f}", str(row.longest))
    return table


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
