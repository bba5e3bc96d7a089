"""Warm workers: actors that outlive their driver and are found by name in the next run (`--keep-warm`)."""

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

import xlharm
from xlharm.engine.placement import WorkerShape
from xlharm.engine.ray.cluster import NAMESPACE
from xlharm.engine.ray.gang import Gang
from xlharm.engine.ray.worker import CONTROL
from xlharm.plan.digest import digest
from xlharm.stages.job import RunnerConfig

_PREFIX = "xlharm-warm-"
_PATIENCE = 5.0  # seconds for a warm worker's answer


def fingerprint(config: RunnerConfig, shape: WorkerShape) -> str:
    """Return a digest of a worker's configuration, resources and code: only equal workers are used again."""
    package = Path(xlharm.__file__).parent
    code = {str(p.relative_to(package)): p.stat().st_mtime_ns for p in sorted(package.rglob("*.py"))}
    as_json = json.dumps([config.__dict__, shape.__dict__], default=lambda x: getattr(x, "__dict__", str(x)))
    return digest({"code": code, "settings": json.loads(as_json)})[:12]


@dataclass(kw_only=True)
class WarmPool:
    """The warm workers that this driver owns.

    Attributes:
        kind: fingerprint of the workers that this run can use.
        owner: name of this driver.
        free: actors of adopted workers that the run does not use yet.
    """

    kind: str
    owner: str = field(default_factory=lambda: f"{os.getpid()}-{os.urandom(4).hex()}")
    free: list[Any] = field(default_factory=list)
    _count: int = 0

    def adopt_idle(self) -> None:
        """Adopt idle workers of this kind; end those of another kind, or still busy with a lost driver's pack."""
        for listed in ray.util.list_named_actors(all_namespaces=True):
            name = listed["name"]
            if listed["namespace"] != NAMESPACE or not name.startswith(_PREFIX):
                continue
            with contextlib.suppress(Exception):  # the actor may end at this moment
                actor = ray.get_actor(name, namespace=NAMESPACE)
                adopt = actor.adopt.options(concurrency_group=CONTROL)
                answer = ray.get(adopt.remote(self.owner), timeout=_PATIENCE)
                if answer == "adopted" and name.startswith(_PREFIX + self.kind):
                    self.free.append(actor)
                elif answer != "taken":
                    ray.kill(actor, no_restart=True)

    def end_spare(self) -> None:
        """End the adopted workers that the run does not use."""
        while self.free:
            ray.kill(self.free.pop(), no_restart=True)

    def name(self) -> str:
        """Return a new name for an actor that outlives this driver."""
        self._count += 1
        return f"{_PREFIX}{self.kind}-{self.owner}-{self._count}"

    def adopt(self, gang: Gang) -> None:
        """Make this driver the owner of a new worker, so that no other driver adopts it."""
        gang.actors[0].adopt.options(concurrency_group=CONTROL).remote(self.owner)

    def release(self, gang: Gang) -> None:
        """Leave an idle worker to the next driver."""
        with contextlib.suppress(Exception):  # the actor may have ended
            ray.get(gang.actors[0].release.options(concurrency_group=CONTROL).remote(), timeout=_PATIENCE)
