"""What a run says about itself in the store, for `xlharm view` and `status --watch` in other processes."""

import os
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xlharm.engine.progress import Snapshot
from xlharm.store.files import Files
from xlharm.store.live import LiveFile, live_texts

NOTES = 40
"""Messages that are kept."""
_Count = Annotated[int, Field(ge=0)]


class LivePack(BaseModel):
    """A running pack; see ``engine.progress.PackLine``."""

    model_config = ConfigDict(frozen=True)
    label: str
    slots: _Count
    step: _Count
    steps: _Count
    worker: str
    keys: tuple[str, ...]
    memory: _Count


class LiveRun(BaseModel):
    """A run that goes on; counts are of stages. See ``engine.progress.Snapshot``.

    Attributes:
        machine: name of the driver's machine.
        pid: process id of the driver.
        written: when this was written, seconds since the epoch by the driver's clock.
        messages: the last ones, each with its time, seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    grid: str
    machine: str
    pid: int
    written: float
    total: _Count
    done: _Count
    running: _Count
    left: _Count
    dead: _Count
    workers: _Count
    tokens_per_second: float | None
    eta: float | None
    pace: float | None
    elapsed: float
    packs: tuple[LivePack, ...]
    messages: tuple[tuple[float, str], ...]


@dataclass
class Announcer:
    """Passes each snapshot of a run on, and puts it into the run's live file."""

    grid: str
    file: LiveFile
    on_progress: Callable[[Snapshot], None]
    _messages: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=NOTES))

    def __call__(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        now = time.time()
        self._messages.extend((now, note) for note in snapshot.notes)
        fields = asdict(snapshot)
        run = LiveRun(
            grid=self.grid,
            machine=socket.gethostname(),
            pid=os.getpid(),
            written=now,
            messages=tuple(self._messages),
            **{name: fields[name] for name in LiveRun.model_fields.keys() & fields.keys()},
        )
        self.file.say(run.model_dump_json())
        self.on_progress(snapshot)


def live_runs(store: Files) -> list[LiveRun]:
    """Return the runs of living drivers of a store; what is damaged or of another version is left out.

    Raises:
        StoreError: a remote store cannot be reached.
    """
    runs = []
    for text in live_texts(store).values():
        try:
            runs.append(LiveRun.model_validate_json(text))
        except ValidationError:
            continue
    return runs
