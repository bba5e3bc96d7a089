"""Errors whose message is meant for the user."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """The user's input is wrong. The command line prints one line without a traceback and ends with exit code 2."""


class BaseRefusedError(UserError):
    """The base model cannot be run as the grid says. No stage of the grid can have a result, so the run ends."""


class CorruptArtifactError(RuntimeError):
    """A stored stage does not match its checksums. A run computes it again.

    Attributes:
        key: full key of the damaged stage.
    """

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message, key)
        self.key = key

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return _corrupt, (str(self.args[0]), self.key)


def _corrupt(message: str, key: str) -> CorruptArtifactError:
    return CorruptArtifactError(message, key=key)


class OlderStageError(CorruptArtifactError):
    """A stage is stored in a format that this version does not read. A run does not compute it again by itself."""


class StoreError(OSError):
    """A file of a store cannot be read, or a remote store cannot be reached; its contents do not change.

    Attributes:
        status: the HTTP status of its response, None when there is none.
    """

    status: int | None = None


class StageError(RuntimeError):
    """A stage cannot have a valid result (NaN loss, an adapter that did not move, …)."""


class StoppedError(RuntimeError):
    """A pack has stopped on request; its state is saved, and the next run continues from it."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the most similar choice; an empty text when none is similar."""
    matches = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""
