"""``record.json``: the description of a finished stage."""

import datetime as dt
import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FORMAT: Literal[2] = 2
"""Version of how a stage is stored. 2: ``_SUCCESS`` holds the digest of the record."""
SEAL = f"xlharm stage {FORMAT} ".encode("ascii")
"""What ``_SUCCESS`` begins with."""


def seal(record: bytes) -> bytes:
    """Return what ``_SUCCESS`` holds: the format's version and the SHA-256 (hex) of ``record.json``."""
    return SEAL + hashlib.sha256(record).hexdigest().encode("ascii") + b"\n"


def of_another_format(found: bytes, record: bytes) -> bool:
    """Whether both ``_SUCCESS`` and ``record.json`` are of another format; of a damaged stage, one is of this one."""
    try:
        content = json.loads(record)
    except ValueError:
        return False
    return not found.startswith(SEAL) and isinstance(content, dict) and content.get("format") != FORMAT


class Artifact(BaseModel):
    """Size in bytes and SHA-256 of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    size: int
    sha256: str


class Hits(BaseModel):
    """How many of ``n`` answers something is true of."""

    model_config = ConfigDict(frozen=True, strict=True)
    hits: Annotated[int, Field(ge=0)]
    n: int


class Mean(BaseModel):
    """The mean of a measure over ``n`` answers."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    mean: float
    n: Annotated[int, Field(ge=0)]


class Counts(BaseModel):
    """The metrics of an evaluation, from which the results table is made."""

    model_config = ConfigDict(frozen=True)
    of: Hits
    qr: Hits
    off_language: Hits
    degenerate: Hits
    refusal: Hits
    rouge_l: Mean
    chrf: Mean

    @model_validator(mode="after")
    def _check(self) -> Self:
        for counted in (self.of, self.qr, self.off_language, self.degenerate, self.refusal):
            if counted.hits > counted.n:
                raise ValueError(f"{counted.hits} hits of {counted.n} answers")
        return self


class Record(BaseModel):
    """A finished stage.

    Attributes:
        format: version of how the stage is stored.
        key: full key.
        kind: the stage's kind.
        label: a name for people; not part of the key.
        identity: the values that the key is the hash of (kind, version, spec, inputs, data, base).
        provenance: code (git sha, dirty), package versions, hardware.
        timings: seconds of the pack (`pack`), and this stage's share of them (`share`).
        metrics: numbers about the stage (losses, counts); for evaluations the counted hits.
        files: every artefact with its checksum; at least one.
        finished: when it was committed, in UTC, ISO 8601.
    """

    # A metric that is not finite is written as Infinity or NaN: null would read as a result that is not there.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")
    format: Literal[2] = FORMAT
    key: str
    kind: str
    label: str
    identity: dict[str, Any]
    provenance: dict[str, Any]
    timings: dict[str, float]
    metrics: dict[str, Any]
    files: Annotated[dict[str, Artifact], Field(min_length=1)]
    finished: str

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if self.kind == "evaluate":
            Counts.model_validate(self.metrics)
        return self

    @staticmethod
    def trusted(content: bytes) -> "Record":
        """Read a record that was validated before and whose bytes match the seal: without validating it again.

        Raises:
            ValueError: it is no JSON, or of another format.
        """
        values = json.loads(content)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}")
        files = {name: Artifact.model_construct(**artifact) for name, artifact in values["files"].items()}
        return Record.model_construct(**{**values, "files": files})

    @staticmethod
    def now() -> str:
        """Return the current time in UTC, ISO 8601."""
        return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


class Failure(BaseModel):
    """Why a stage has no result.

    Attributes:
        reason: nan | adapter_did_not_move | empty_tensor | out_of_memory | io | crashed | user | error.
        message: one line for people.
        final: the same input would fail again, so only `--retry-failed` tries it again.
        failed: when it failed, in UTC, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str
    kind: str
    label: str
    reason: str
    message: str
    final: bool
    failed: str
