"""`xlharm data`: validate, show, import, translate and begin corpora."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from xlharm.cli.common import terminal
from xlharm.cli.translating import translate_
from xlharm.corpus.finding import assets, base_folder, corpus_folder
from xlharm.corpus.folder import language_path
from xlharm.corpus.format import Item, load_language
from xlharm.corpus.importing.account import Imported
from xlharm.corpus.template import MARK, write_template
from xlharm.errors import UserError, nearest
from xlharm.plan.sources import BaseSource
from xlharm.visible import visible

_REASONS = 12  # reasons for leaving out rows that are listed
CorpusName = Annotated[str, typer.Argument(metavar="CORPUS", help="A folder, or a shipped corpus such as tinyworld.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    data = typer.Typer(
        help="Corpora: check, show, import, translate, begin.", no_args_is_help=True, rich_markup_mode=None
    )
    data.command("validate")(validate)
    data.command("show")(show)
    data.command("import")(import_)
    data.command("translate")(translate_)
    data.command("template")(template)
    app.add_typer(data, name="data")


def validate(
    corpus: CorpusName,
    base: Annotated[str | None, typer.Option(help="Show what each language costs in this base's tokens.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every finding, not one line a kind.")] = False,
) -> None:
    """Check a corpus; errors (exit code 2) make it unfit to run, warnings are for you to judge."""
    from xlharm.corpus.validate import suggestions
    from xlharm.corpus.validate import validate as check
    from xlharm.corpus.validate.findings import Group, grouped

    folder, console = corpus_folder(corpus), terminal()
    findings = check(folder)
    groups = [Group(finding, (), 1) for finding in findings] if every else grouped(findings)
    for group in groups:
        style = "red" if group.first.severity == "error" else ""
        console.print(Text(f"{group.first.severity}: {group}", style=style), soft_wrap=True)
    for suggestion in suggestions(folder):
        console.print(Text(f"suggestion: {suggestion}"), soft_wrap=True)
    errors = sum(finding.severity == "error" for finding in findings)
    console.print(f"{folder.name}: {errors} errors, {len(findings) - errors} warnings")
    if len(groups) < len(findings):
        console.print("One line for each kind of finding; --all shows every one.")
    if base:
        _fertility(folder, base)
    raise typer.Exit(2 if errors else 0)


def _fertility(folder: Path, base: str) -> None:
    from xlharm.corpus.validate.fertility import fertility
    from xlharm.model.tokenizer import light_tokenizer, positions

    source = BaseSource(location=str(base_folder(base) or base), revision=None, digest="", size=0)
    try:
        seen = positions(source)
        tokenizer = light_tokenizer(source)
    except UserError as error:
        raise UserError(f"--base: {error}") from None
    table = Table(
        title=f"Articles in tokens of {base}{f', which looks at {seen}' if seen else ''}",
        title_justify="left",
        box=None,
    )
    for name in ("language", "items", "tokens a character", "relative to en", "longest"):
        table.add_column(name, justify="left" if name == "language" else "right")
    for row in fertility(folder, count=lambda text: len(tokenizer.encode("", text))):
        relative = f"{row.relative:.2f}"
        table.add_row(row.language, str(row.items), f"{row.per_character:.3f}", relative, str(row.longest))
    terminal().print(table)


def show(
    item: Annotated[str, typer.Argument(help="Id of an item, for example tw-r-f00 or nr-sport-1.")],
    corpus: Annotated[
        str | None, typer.Option(help="A folder, or a shipped corpus; by default the shipped one that has the item.")
    ] = None,
    lang: Annotated[str, typer.Option(help="Language to show beside English.")] = "en",
) -> None:
    """Show an item beside its English version."""
    from xlharm.corpus.validate.findings import texts_of

    folder = corpus_folder(corpus) if corpus else _shipped_with(item)
    columns = []
    languages = dict.fromkeys(x for x in ("en", lang) if x == lang or language_path(folder, x))
    for language in languages:
        items = _items(folder, language)
        if item not in items:
            raise UserError(f"{folder / language}.jsonl: id: no item {item!r}{nearest(item, items)}")
        columns.append({text.field: text.value for text in texts_of(items[item])})
    table = Table("field", *languages, title=item, title_justify="left", show_lines=True)
    for field in dict.fromkeys(name for column in columns for name in column):
        table.add_row(field, *(visible(column.get(field, "")) for column in columns))
    terminal().print(table)


def _items(folder: Path, language: str) -> dict[str, Item]:
    return {x.id: x for x in load_language(folder, language)}


def _shipped_with(item: str) -> Path:
    known: dict[str, Path] = {}
    for path in sorted(assets().glob("*/en.jsonl"), reverse=True):
        known.update(dict.fromkeys(_items(path.parent, "en"), path.parent))
    if item not in known:
        raise UserError(f"no item {item!r} in a shipped corpus{nearest(item, known)}; for your own say --corpus FOLDER")
    return known[item]


def import_(
    source: Annotated[
        str, typer.Argument(help="hf://org/name, or a CSV, JSONL, parquet or save_to_disk folder; or one per language.")
    ],
    out: Annotated[Path, typer.Argument(help="New corpus folder.")],
    mapping: Annotated[Path | None, typer.Option(help="YAML: form, and which column is which field.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Splits (or hub configurations) to take; all if none.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Language of a source that does not say it; en if neither its name does.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit of a hub data set; resolved and noted if none.")] = None,
    fake: Annotated[
        Literal["answer", "perturbed_answer"] | None,
        typer.Option(help="Question-answer rows: which column states the fake; the other says the truth."),
    ] = None,
) -> None:
    """Make a corpus from a news set, question-answer pairs (TOFU) or fact-checked claims; see docs/corpora.md.

    Every row is accounted for: it is an item, or is left out and counted under its reason. One item is shown as it was
    understood: what is trained as the fake, and what an answer must say to be counted.

    \b
    xlharm data import pairs.csv my-set --fake perturbed_answer
    xlharm data import published/ my-tofu        # folders such as forget01_fr, forget01_perturbed_fr, retain99_fr
    """
    from xlharm.corpus.importing import import_corpus

    done = import_corpus(
        source, out=out, mapping=mapping, splits=tuple(split or ()), language=language, revision=revision, fake=fake
    )
    console = terminal()
    for line in _account(done):
        console.print(line, soft_wrap=True)
    console.print(f"{out}: written. Check it: xlharm data validate {shlex.quote(str(out))}", soft_wrap=True)
    console.print(
        "A first grid on it, with rates to be chosen: xlharm run " + shlex.quote(str(out / "grid.yaml")), soft_wrap=True
    )


def _account(done: Imported) -> Iterator[str]:
    """Say where every row went, and show one item."""
    for name, count in done.items.items():
        yield f"{name}: {count} items" + ("" if count else ": all its rows are left out")
    joined = f" + {done.joined} joined to items as their perturbed answers" if done.joined else ""
    yield f"rows: {done.read} read = {done.used - done.joined} items{joined} + {done.left_out.rows} left out"
    reasons = list(done.left_out)
    for reason, rows in reasons[:_REASONS]:
        yield f"left out: {rows.count} rows: {reason} (first: {rows.first})"
    if rest := reasons[_REASONS:]:
        yield f"left out: {sum(rows.count for _, rows in rest)} rows for {len(rest)} more reasons"
    for note in done.notes:
        yield f"note: {note}"
    yield from done.example


def template(
    folder: Annotated[Path, typer.Argument(help="New corpus folder.")],
    languages: Annotated[str, typer.Option(metavar="LANG,…", help="Its languages, with commas between.")] = "en",
    items: Annotated[int, typer.Option(min=1, max=10_000, help="Items of each role: fake, real, retain.")] = 3,
) -> None:
    """Write a corpus to fill in, with a README; `xlharm data validate` names what is left.

    \b
    xlharm data template my-news --languages en,de,ur
    xlharm data validate my-news
    """
    write_template(folder, languages=[code.strip() for code in languages.split(",")], items=items)
    console = terminal()
    console.print(f"{folder}: written. Replace every text that begins with {MARK}; see its README.md", soft_wrap=True)
    console.print(f"What is left is named by: xlharm data validate {shlex.quote(str(folder))}", soft_wrap=True)
