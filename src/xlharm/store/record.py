"""``record.json``: the description of a finished stage."""

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
        kind: the stage's kind.
        label: a name for people; not part of the key.
        identity: the values that the key is the hash of (kind, version, spec, inputs, data, base).
        provenance: code (git sha, dirty), package versions, hardware.
        timings: seconds of the pack (`pack`), and this stage's share of them (`share`).
        metrics: numbers about the stage (losses, counts); for evaluations the counted hits.
        files: every artefact with its checksum.
        finished: when it was committed, in UTC, ISO 8601.
    """

    # A metric that is not finite is written as Infinity or NaN: null would read as a result that is not there.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")
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
