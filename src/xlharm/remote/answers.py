"""AnswerCache that were paid for, kept by content, and texts on their way to and from a model."""

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlharm.plan.digest import digest


@dataclass(frozen=True)
class AnswerCache:
    """A folder of answers, one file each; None keeps nothing."""

    folder: Path | None

    def get(self, asked: Any) -> str | None:
        """Return the answer to something that was asked before."""
        place = self._place(asked)
        try:
            return str(json.loads(place.read_text("utf-8"))["text"]) if place else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, asked: Any, text: str) -> None:
        """Keep an answer; a half-written one never exists."""
        place = self._place(asked)
        if place is None:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = place.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        scratch.write_text(json.dumps({"text": text}, ensure_ascii=False), "utf-8")
        scratch.replace(place)

    def _place(self, asked: Any) -> Path | None:
        if self.folder is None:
            return None
        key = digest(asked)
        return self.folder / key[:2] / f"{key}.json"


def fenced(text: str) -> str:
    """Put data between marks that it cannot hold, the same ones for the same text (answers are kept by content)."""
    mark = f"<<<{digest(text)[:12]}>>>"
    return f"{mark}\n{text}\n{mark}"


def json_object(text: str) -> dict[str, Any]:
    """Read the JSON object in an answer; what a model thinks aloud before it, or puts around it, does not count.

    Raises:
        ValueError: there is none.
    """
    text = text.rpartition("</think>")[2]
    try:
        found = json.loads(text[text.find("{") : text.rfind("}") + 1])
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def writable(text: str) -> str:
    """Replace halves of surrogate pairs, which cannot be sent or stored."""
    return text.encode("utf-8", "replace").decode("utf-8")
