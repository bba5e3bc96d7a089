"""``record.json``: what a finished stage says of itself."""

import datetime as dt
from typing import Any

from pydantic import BaseModel, ConfigDict


class Artifact(BaseModel):
    """Size in bytes and SHA-256 of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    size: int
    sha256: str


class Record(BaseModel):
    """A finished stage.

    Attributes:
        key: full key.
        identity: what the key is the hash of (kind, version, spec, inputs, data, base).
        label: for people.
        provenance: code (git sha, dirty), package versions, hardware, seeds, where and when it ran.
        timings: seconds by phase.
        metrics: numbers about the stage (losses, counts); for evaluations the counted hits.
        files: every artefact with its checksum.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    key: str
    kind: str
    label: str
    identity: dict[str, Any]
    provenance: dict[str, Any]
    timings: dict[str, float]
    metrics: dict[str, Any]
    files: dict[str, Artifact]
    finished: str

    @staticmethod
    def now() -> str:
        """Return the current time in UTC, ISO 8601."""
        return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


class Failure(BaseModel):
    """Why a stage has no result.

    Attributes:
        reason: nan | adapter_did_not_move | empty_tensor | out_of_memory | io | crashed | user | error.
        final: the same input would fail again; it is not tried again unless asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str
    kind: str
    label: str
    reason: str
    message: str
    final: bool
    failed: str
