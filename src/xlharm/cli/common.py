"""What every command shares: finding the grid, the store, the precision, and the plan."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from xlharm.config.grid import GridSpec
from xlharm.config.load import load_grid
from xlharm.corpus.finding import resolve
from xlharm.plan.build import Plan, build
from xlharm.plan.cells import Dtype
from xlharm.store.store import Store

GridPath = Annotated[Path, typer.Argument(metavar="GRID", help="Grid file, for example grid/quickstart.yaml.")]
StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="XLHARM_STORE",
        metavar="URL",
        help="Folder or fsspec URL (s3://…) where results live. All machines of a cluster must see it.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-s", "--set", metavar="KEY=VALUE", help="Override a field: -s seeds=3 -s methods.npo.beta=0.2"),
]
DEFAULT_STORE = "store"


@dataclass(frozen=True)
class Session:
    """A grid, where its results lie, and its plan."""

    plan: Plan
    store: Store


def open_grid(path: Path, *, store: str, overrides: list[str] | None, writes: bool = False) -> Session:
    """Load a grid, open its store and build its plan. Imports no torch and no Ray.

    A store that is only read may be write-protected; one that has nothing yet, or is not there, is told.
    """
    spec = load_grid(path, overrides=overrides or ())
    sources = resolve(spec, grid_path=path)
    opened = Store(store, writes=writes)
    session = Session(plan=build(spec, sources=sources, dtype=precision(spec, opened)), store=opened)
    for note in session.plan.notes:
        typer.echo(note, err=True)
    if opened.empty:
        typer.echo(f"--store {store}: nothing is there yet", err=True)
    return session


def precision(spec: GridSpec, store: Store) -> Dtype:
    """Say what `dtype: auto` means for a grid.

    What the grid was begun with, so that a laptop finds what a GPU computed; else bfloat16 where this machine
    has a GPU, else float32.
    """
    if spec.dtype != "auto":
        return spec.dtype
    begun = begun_with(spec.name, store)
    if begun is not None:
        return "bfloat16" if begun == "bfloat16" else "float32"
    return "bfloat16" if has_gpu() else "float32"


def begun_with(name: str, store: Store) -> Any:
    """Return the precision that a grid was begun with, or None."""
    try:
        return json.loads(store.read_text(f"grids/{name}.json")).get("dtype")
    except (OSError, ValueError, AttributeError):
        return None


def remember(session: Session) -> None:
    """Write down what a grid is run with: its precision, its resolved settings, and the digests of the base's files."""
    spec, base = session.plan.grid, session.plan.sources.base
    noted = {"dtype": session.plan.dtype, "grid": spec.model_dump(mode="json")}
    session.store.write_text(f"grids/{spec.name}.json", json.dumps(noted, indent=1, sort_keys=True))
    if base.files:
        session.store.write_text(_base_note(base.digest), json.dumps(base.files, indent=1, sort_keys=True))


def base_files(store: Store, digest: str) -> dict[str, str]:
    """Return the digests of the files of a base that a grid was run with; empty where nobody noted them."""
    try:
        noted = json.loads(store.read_text(_base_note(digest)))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _base_note(digest: str) -> str:
    return f"bases/{digest[:16]}.json"


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA or AMD GPU that may be used; asks the system, not torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}:
        return False
    return any(Path(p).exists() for p in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd"))


def terminal() -> Console:
    """Return the console; without a terminal lines are 100 wide and plain."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=100)
