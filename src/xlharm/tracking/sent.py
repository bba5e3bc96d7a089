"""What an experiment tracker has received: one line for each run, beside the runs' own folders."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from xlharm.tracking.mirror import Run

NAME = "xlharm-sent.jsonl"


@dataclass
class Sent:
    """The runs that one project has received, with a digest of what each held.

    Attributes:
        path: the file; deleting it means that everything is sent again.
        to: where runs go: the server's address, entity and project.
    """

    path: Path
    to: tuple[str | None, ...]
    _digests: dict[str, str]

    @classmethod
    def read(cls, folder: Path, *, to: tuple[str | None, ...]) -> Self:
        """Read what was sent; a line that a killed process left unfinished counts for nothing."""
        path, digests = folder / NAME, {}
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
            try:
                entry = json.loads(line)
                if entry["to"] == list(to):
                    digests[str(entry["id"])] = str(entry["digest"])
            except (ValueError, TypeError, KeyError):
                continue
        return cls(path, to, digests)

    def has(self, run: Run) -> bool:
        """Whether a run was sent as it is now."""
        return self._digests.get(run.id) == _digest(run)

    def add(self, run: Run) -> None:
        """Remember that a run was sent."""
        self._digests[run.id] = _digest(run)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"to": self.to, "id": run.id, "digest": _digest(run)}) + "\n")


def _digest(run: Run) -> str:
    # answers are a function that reads them; what it reads follows from the keys in ``measured``
    content = json.dumps(asdict(replace(run, answers=None)), sort_keys=True, default=str)
    return hashlib.sha256(content.encode("utf-8", "backslashreplace")).hexdigest()
