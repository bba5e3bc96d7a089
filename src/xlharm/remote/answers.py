"""A cache of answers by the content of their requests, and helpers for text sent to and received from a model."""

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlharm.plan.digest import digest


@dataclass(frozen=True)
class AnswerCache:
    """A folder with one file for each answer.

    Attributes:
        folder: the folder; None stores nothing.
    """

    folder: Path | None

    def get(self, request: Any) -> str | None:
        """Return the stored answer to a request, None when there is none.

        Args:
            request: everything that determines the answer, as JSON values.
        """
        path = self._path(request)
        try:
            return str(json.loads(path.read_text("utf-8"))["text"]) if path else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, request: Any, text: str) -> None:
        """Store the answer to a request; other processes see the whole file or none."""
        path = self._path(request)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        scratch.write_text(json.dumps({"text": text}, ensure_ascii=False), "utf-8")
        scratch.replace(path)

    def _path(self, request: Any) -> Path | None:
        if self.folder is None:
            return None
        key = digest(request)
        return self.folder / key[:2] / f"{key}.json"


def fenced(text: str) -> str:
    """Put data between two marks that do not occur in it.

    The marks depend only on the text, so that the same request always finds its cached answer.
    """
    mark = f"<<<{digest(text)[:12]}>>>"
    return f"{mark}\n{text}\n{mark}"


def json_object(text: str) -> dict[str, Any]:
    """Read the JSON object in an answer; text before and after it, such as a model's reasoning, is ignored.

    Raises:
        ValueError: the answer contains no JSON object.
    """
    text = text.rpartition("</think>")[2]
    try:
        value = json.loads(text[text.find("{") : text.rfind("}") + 1])
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def writable(text: str) -> str:
    """Replace unpaired surrogates, which UTF-8 cannot encode, by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
