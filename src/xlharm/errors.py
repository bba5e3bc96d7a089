"""Errors with a meaning for the person at the terminal."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """The user's input is wrong: one clear line, exit code 2, never a traceback."""


class CorruptArtifactError(RuntimeError):
    """A stored stage does not match its checksums; it is computed again.

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


class StoreError(OSError):
    """A remote store cannot be reached, or refuses; what is in it stays.

    Attributes:
        status: the HTTP status of its answer, where there is one.
    """

    status: int | None = None


class StageError(RuntimeError):
    """A stage cannot have a valid result (NaN loss, an adapter that did not move, …)."""


class StoppedError(RuntimeError):
    """A pack was asked to stop and did: what it had is saved, and another run goes on from there."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest choice, or nothing when none is near."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""
