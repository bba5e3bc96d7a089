"""What a tracker is told of files without sending them: a grid's corpus and page, and the adapters of its cells."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xlharm.analysis.results import GridResults
from xlharm.analysis.wording import shown_source, without_credentials
from xlharm.errors import CorruptArtifactError
from xlharm.plan.cells import Cell


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One file.

    Attributes:
        name: within the artifact.
        address: a URL in a store on S3; else ``store:``, ``corpus:`` or ``page:`` and the place in there, because
            folders of this machine are not told. It names the content: by a stage's key, or by its checksum.
        sha256: of its content, hex.
        size: bytes; None when it is not known.
    """

    name: str
    address: str
    sha256: str
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """Files that belong together, by reference; ``store`` is the URL of a remote store that holds them."""

    name: str
    type: Literal["model", "dataset", "report"]
    files: tuple[Reference, ...]
    store: str | None = None


def adapter_of(results: GridResults, cell: Cell) -> tuple[Artifact, ...]:
    """Return the adapter of a cell's model; nothing before it is trained."""
    if cell.model not in results.done:
        return ()
    try:
        record = results.record(cell.model)
    except CorruptArtifactError:
        return ()
    store = without_credentials(results.store.url).rstrip("/") if results.store.remote else None
    root = f"{store}/" if store and store.startswith("s3://") else "store:"  # W&B knows no other kind without more
    folder = f"{root}stages/{record.kind}/{record.key[:16]}"
    files = tuple(
        Reference(name=name, address=f"{folder}/{name}", sha256=file.sha256, size=file.size)
        for name, file in sorted(record.files.items())
    )
    return (Artifact(name=f"adapter-{record.key[:16]}", type="model", files=files, store=store),)


def corpus_of(results: GridResults) -> Artifact:
    """Return the grid's corpus; the checksums are those that keys of stages depend on."""
    corpus = results.plan.sources.corpus
    name = shown_source(results.plan.grid.corpus)
    files = tuple(
        Reference(name=f"{language}.jsonl", address=f"corpus:{name}/{language}.jsonl?sha256={sha256}", sha256=sha256)
        for language, sha256 in sorted(corpus.digests.items())
    )
    return Artifact(name=f"corpus-{results.plan.grid.name}", type="dataset", files=files)


def page_of(results: GridResults, page: Path | None) -> tuple[Artifact, ...]:
    """Return the grid's HTML page, if it is there."""
    if page is None or not page.is_file():
        return ()
    with page.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    address = f"page:{page.name}?sha256={sha256}"
    file = Reference(name=page.name, address=address, sha256=sha256, size=page.stat().st_size)
    return (Artifact(name=f"page-{results.plan.grid.name}", type="report", files=(file,)),)
