"""Base, judges and corpus of a grid: where they are, and their digests, on which keys depend."""

from dataclasses import dataclass, field
from pathlib import Path

WEIGHTS = "*.safetensors"


@dataclass(frozen=True, kw_only=True)
class CorpusSource:
    """A corpus folder, and the digest of each language's file."""

    name: str
    path: Path
    digests: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class BaseSource:
    """A base model: a local folder, or a hub id with a fixed revision.

    Attributes:
        location: folder path, or hub id.
        revision: hub commit; None for a folder.
        digest: digest of the model; part of keys.
        size: bytes of its weights; 0 when unknown.
    """

    location: str
    revision: str | None
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Sources:
    """All data that a grid's keys depend on."""

    base: BaseSource
    corpus: CorpusSource
    judges: dict[str, BaseSource] = field(default_factory=dict)
