"""Why a pack failed, as plain data that can be sent between processes."""

import errno
import traceback
from dataclasses import dataclass
from typing import Literal

from xlharm.engine.scrub import scrub
from xlharm.errors import BaseRefusedError, CorruptArtifactError, StoppedError, UserError
from xlharm.stages.job import OutOfMemoryError

TroubleKind = Literal[
    "preempted",
    "node_died",
    "memory_taken",
    "crashed",
    "out_of_memory",
    "disk_full",
    "io",
    "corrupt",
    "base",
    "user",
    "error",
    "stopped",
]
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a pack has no results.

    Attributes:
        kind: the kind of failure, on which the policy decides. `out_of_memory`: the pack itself is too large;
            `memory_taken`: something else fills the machine's memory.
        message: one line for the user.
        key: the damaged stage's key, when kind is `corrupt`.
        detail: a traceback, for the log.
        lost: whether the worker's process has ended.
    """

    kind: TroubleKind
    message: str
    key: str | None = None
    detail: str = ""
    lost: bool = False


def trouble_of(error: BaseException) -> Trouble:
    """Classify an error that a runner raised."""
    message = one_line(error)
    if isinstance(error, CorruptArtifactError):
        return Trouble(kind="corrupt", message=message, key=error.key)
    if isinstance(error, (OutOfMemoryError, MemoryError)):
        return Trouble(kind="out_of_memory", message=message)
    if isinstance(error, StoppedError):
        return Trouble(kind="stopped", message=message)
    if isinstance(error, UserError):
        return Trouble(kind="base" if isinstance(error, BaseRefusedError) else "user", message=message)
    if isinstance(error, OSError):
        return Trouble(kind="disk_full" if error.errno in _NO_ROOM else "io", message=message)
    detail = scrub("".join(traceback.format_exception(error)))
    return Trouble(kind="error", message=f"{type(error).__name__}: {message}", detail=detail)


def one_line(error: BaseException) -> str:
    """Return an error's message on one line of bounded length, without secrets."""
    return scrub(" ".join(str(error).split()))[:500] or type(error).__name__


class EngineError(RuntimeError):
    """The engine cannot continue (no worker starts, …); finished stages stay in the store."""
