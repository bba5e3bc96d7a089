"""Makes the pages that come from the code: the command line, the fields of grid files, the API."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.testing import CliRunner

from xlharm.cli.main import app

ROOT = Path(__file__).parents[2]
ROOMS = (
    "api", "config", "methods", "probes", "judges", "plan", "store", "corpus", "analysis", "report", "view", "engine",
)  # fmt: skip
"""Rooms with a page of the API reference, as far as they exist."""
FIELDS = """\
Made from `xlharm schema`. A field without a default must be given. The first table is the grid file itself; the
others are what its fields hold."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the made pages in the navigation."""
    sections = {name: pages for section in config.nav or [] for name, pages in section.items()}
    api = [{f"xlharm.{room}": f"reference/api/{room}.md"} for room in _rooms()]
    made = {"Command line": "reference/commands.md", "Fields of grid files": "reference/fields.md", "Python API": api}
    sections["Reference"] += [{name: page} for name, page in made.items()]
    decisions = sorted((ROOT / "docs/decisions").glob("0*.md"))
    sections["Background"] += [{"Decisions": ["decisions/README.md", *(f"decisions/{d.name}" for d in decisions)]}]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Make the pages."""
    pages = {"reference/commands.md": commands(), "reference/fields.md": fields()}
    pages |= {f"reference/api/{room}.md": f"# xlharm.{room}\n\n::: xlharm.{room}\n" for room in _rooms()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def _rooms() -> list[str]:
    package = ROOT / "src/xlharm"
    return [room for room in ROOMS if (package / room).is_dir() or (package / f"{room}.py").is_file()]


def commands() -> str:
    """Return a page with every command's help, arguments and options."""
    root = typer.main.get_command(app)
    parts = ["# Command line", *_help(root.help), "Every command explains itself: `xlharm plan --help`."]
    parts += [part for context in walk(root) for part in _command(context)]
    return "\n\n".join(parts) + "\n"


def walk(root: click.Command) -> Iterator[click.Context]:
    """Yield a context for each command that does something; groups are walked into."""
    todo = [click.Context(root, info_name="xlharm")]
    while todo:
        context = todo.pop(0)
        subcommands = getattr(context.command, "commands", {})
        if not subcommands:
            yield context
        todo[:0] = [click.Context(sub, parent=context, info_name=name) for name, sub in subcommands.items()]


def _command(context: click.Context) -> list[str]:
    records = [p.get_help_record(context) for p in context.command.get_params(context) if p.name != "help"]
    rows = [f"| {_code(name)} | {_prose(text)} |" for name, text in filter(None, records)]
    table = ["\n".join(["| argument or option | meaning |", "|---|---|", *rows])] if rows else []
    usage = context.command.get_usage(context).removeprefix("Usage: ")
    return [f"## {context.command_path}", f"```text\n{usage}\n```", *_help(context.command.help), *table]


def _help(text: str | None) -> list[str]:
    """Return the paragraphs of a help text; examples become code."""
    parts: list[str] = []
    for paragraph in (text or "").strip().split("\n\n"):
        lines = paragraph.removeprefix("\b").strip("\n").splitlines()
        if "\b" in paragraph or all(line.lstrip().startswith("xlharm ") for line in lines):
            indent = min(len(line) - len(line.lstrip()) for line in lines)
            code = "\n".join(line[indent:] for line in lines)
            if parts and parts[-1].endswith("\n```"):  # examples that follow each other are one block
                parts[-1] = parts[-1].removesuffix("```") + f"{code}\n```"
            else:
                parts.append(f"```text\n{code}\n```")
        else:
            parts.append(_prose(" ".join(line.strip() for line in lines)))
    return parts


def _code(text: str) -> str:
    """Return code for a table's cell, where backticks would not hide `|`."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"


def _prose(text: str) -> str:
    """Escape what Markdown would read, outside of code."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_\[\]|])", r"\\\1", html.escape(part, quote=False)) for part in parts[::2]]
    parts[1::2] = [_code(part) for part in parts[1::2]]
    return "".join(parts)


def fields() -> str:
    """Return a page with the fields of grid files, from what `xlharm schema` prints."""
    schema = json.loads(CliRunner().invoke(app, ["schema"]).output)
    definitions = {"Grid file": schema, **schema.get("$defs", {})}
    parts = ["# Fields of grid files", FIELDS]
    for name, part in definitions.items():
        if "properties" in part:
            parts += [f"## {name}", *_described(part), _table(part)]
    return "\n\n".join(parts) + "\n"


def _described(part: dict[str, Any]) -> list[str]:
    first = part.get("description", "").split("\n\n")[0]
    return [" ".join(first.split())] if first else []


def _table(part: dict[str, Any]) -> str:
    needed = part.get("required", [])
    rows = [
        f"| `{name}` | {_type(field)} | {'' if name in needed else _default(field)} |"
        for name, field in part["properties"].items()
    ]
    return "\n".join(["| field | holds | default |", "|---|---|---|", *rows])


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return ""
    value = field["default"]
    return "its defaults" if isinstance(value, dict) else _code(json.dumps(value, ensure_ascii=False))


def _type(field: dict[str, Any]) -> str:
    match field:
        case {"$ref": reference}:
            name = reference.rsplit("/", 1)[-1]
            text = f"[{name}](#{name.lower()})"
        case {"anyOf": types} | {"oneOf": types}:
            text = " or ".join(dict.fromkeys(_type(each) for each in types))
        case {"enum": values}:
            text = ", ".join(f"`{value}`" for value in values)
        case {"const": value}:
            text = f"`{value}`"
        case {"type": "array", "items": items}:
            text = f"list of {_type(items)}"
        case {"type": "object", "additionalProperties": {**values}}:
            text = f"map of names to {_type(values)}"
        case {"type": "object", "patternProperties": {**patterns}}:
            text = f"map of names to {_type(next(iter(patterns.values())))}"
        case _:
            text = f"{field.get('type', 'anything')}{_bounds(field)}"
    return text


def _bounds(field: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return "".join(f" {sign} {field[name]:g}" for name, sign in signs.items() if name in field)
