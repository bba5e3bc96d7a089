"""`xlharm base`: make base folders."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from xlharm.cli.common import terminal


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Base models: make a folder that grids can name.", no_args_is_help=True)
    group.command("import")(import_)
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
