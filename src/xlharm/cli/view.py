"""`xlharm view`: a local page that follows runs."""

from pathlib import Path
from typing import Annotated

import typer

from xlharm.cli.common import DEFAULT_STORE, Overrides, StoreUrl, open_grid, terminal


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("view")(view)


def view(
    grids: Annotated[list[Path], typer.Argument(metavar="GRID …", help="Grid files, for one page.")],
    store: StoreUrl = DEFAULT_STORE,
    overrides: Overrides = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of this machine; 0 takes a free one.")] = 0,
) -> None:
    """Serve a page on this machine that shows a grid filling while it runs, and its answers.

    The page is made from the store, so the run may be in another process or on another machine. It changes nothing,
    listens on 127.0.0.1 alone, and needs the token in the address that is printed. Ctrl-C ends it; a run goes on.

    \b
    xlharm view grid/quickstart.yaml
    xlharm view A.yaml B.yaml --store s3://bucket/store
    xlharm view grid/study.yaml --port 8400         for: ssh -L 8400:127.0.0.1:8400 that-machine
    """
    from xlharm.view.server import ViewServer

    opened = [open_grid(path, store=store, overrides=overrides) for path in grids]
    with ViewServer([(one.plan, one.store) for one in opened], port=port) as server:
        terminal().print(server.url, soft_wrap=True)
        terminal().print("Ctrl-C ends the page; a run goes on without it.", soft_wrap=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("")
