"""Stable digests of canonical JSON; values without a stable serialisation are refused."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | tuple[Json, ...] | Mapping[str, Json] | None"
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
_NESTED = frozenset({dict, list, tuple})
_TEXT = frozenset({str})


def canonical(value: Json) -> str:
    """Serialise ``value`` to canonical JSON: equal values give equal texts.

    Raises:
        TypeError: a value has no stable serialisation (sets, paths, objects, non-string keys).
        ValueError: NaN or infinity.
    """
    try:
        if _has_text_keys(value):
            return _ENCODER.encode(value)
    except (TypeError, ValueError):
        pass
    _check(value, at="$")  # it says what is wrong and where, or finds a mapping that the encoder does not know
    return _ENCODER.encode(value)


def digest(value: Json) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def mix(*parts: object) -> int:
    """Hash the texts of parts to a 64-bit number that does not depend on machine or process."""
    text = "\x1f".join(map(str, parts)).encode("utf-8")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def _has_text_keys(value: object) -> bool:
    """Whether all keys are text: the encoder refuses everything else itself, but turns other keys into text."""
    nested = [value]
    while nested:
        inner = nested.pop()
        if isinstance(inner, dict):
            if not _TEXT.issuperset(map(type, inner)):
                return False
            nested += [item for item in inner.values() if type(item) in _NESTED]
        elif type(inner) in _NESTED:
            nested += [item for item in inner if type(item) in _NESTED]  # type: ignore[attr-defined] # a list or tuple
    return True


def _check(value: object, *, at: str) -> None:
    match value:
        case None | bool() | int() | str():
            return
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{at}: {value} cannot be part of a key")
        case list() | tuple():
            for i, item in enumerate(value):
                _check(item, at=f"{at}[{i}]")
        case Mapping():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise TypeError(f"{at}: key {key!r} is not text")
                _check(item, at=f"{at}.{key}")
        case _:
            raise TypeError(f"{at}: {type(value).__name__} has no stable serialisation")
