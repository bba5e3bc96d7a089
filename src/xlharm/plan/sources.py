"""Base, judges and corpus of a grid: where they are, and their digests, on which keys depend."""

from dataclasses import dataclass, field
from pathlib import Path

from xlharm.plan.families import Kind


@dataclass(frozen=True, kw_only=True)
class CorpusSource:
    """A corpus folder.

    Attributes:
        name: as the grid calls it.
        path: the folder.
        digests: digest of each language's file.
        harm: what its fakes are; part of no key.
    """

    name: str
    path: Path
    digests: dict[str, str]
    harm: str = "news"


@dataclass(frozen=True, kw_only=True)
class BaseSource:
    """A base model: a local folder, or a hub id with a fixed revision.

    Attributes:
        location: folder path, or hub id.
        revision: hub commit; None for a folder.
        digest: digest of the files that loading reads, wherever they are; part of keys.
        size: bytes of its weights; 0 when unknown.
        files: digest of each file that loading reads.
        code: whether code that comes with the model is run, and so is part of the digest.
        family: the ``model_type`` of the configuration's part that reads text.
        kind: which kind of model it is.
    """

    location: str
    revision: str | None
    digest: str
    size: int
    files: dict[str, str] = field(default_factory=dict)
    code: bool = False
    family: str = ""
    kind: Kind = "causal"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """All data that a grid's keys depend on."""

    base: BaseSource
    corpus: CorpusSource
    judges: dict[str, BaseSource] = field(default_factory=dict)
