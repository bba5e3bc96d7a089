"""Warm workers: actors that outlive their driver, found again by name (`--keep-warm`)."""

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

import xlharm
from xlharm.engine.placement import Shape
from xlharm.engine.ray.cluster import NAMESPACE
from xlharm.engine.ray.gang import Gang
from xlharm.engine.ray.worker import CONTROL
from xlharm.plan.digest import digest
from xlharm.stages.job import RunnerConfig

_PREFIX = "xlharm-warm-"
_PATIENCE = 5.0  # seconds that a warm worker has to answer


def fingerprint(config: RunnerConfig, shape: Shape) -> str:
    """Digest what a worker is: another base, place or code is another worker."""
    package = Path(xlharm.__file__).parent
    code = {str(p.relative_to(package)): p.stat().st_mtime_ns for p in sorted(package.rglob("*.py"))}
    told = json.loads(json.dumps([config.__dict__, shape.__dict__], default=lambda x: getattr(x, "__dict__", str(x))))
    return digest({"code": code, "told": told})[:12]


@dataclass(kw_only=True)
class Warm:
    """This driver's hold on warm workers.

    Attributes:
        kind: fingerprint of the workers wanted.
        owner: name of this driver.
        free: workers taken over that have no place in the run yet.
    """

    kind: str
    owner: str = field(default_factory=lambda: f"{os.getpid()}-{os.urandom(4).hex()}")
    free: list[Any] = field(default_factory=list)
    _count: int = 0

    def take_over(self) -> None:
        """Adopt idle workers of our kind; end those of another kind, or stuck in a dead driver's pack."""
        for told in ray.util.list_named_actors(all_namespaces=True):
            name = told["name"]
            if told["namespace"] != NAMESPACE or not name.startswith(_PREFIX):
                continue
            with contextlib.suppress(Exception):  # it may end at this very moment
                actor = ray.get_actor(name, namespace=NAMESPACE)
                adopt = actor.adopt.options(concurrency_group=CONTROL)
                answer = ray.get(adopt.remote(self.owner), timeout=_PATIENCE)
                if answer == "mine" and name.startswith(_PREFIX + self.kind):
                    self.free.append(actor)
                elif answer != "taken":
                    ray.kill(actor, no_restart=True)

    def end_spare(self) -> None:
        """End the workers taken over for which there is no work."""
        while self.free:
            ray.kill(self.free.pop(), no_restart=True)

    def name(self) -> str:
        """Return a fresh name for an actor that shall last."""
        self._count += 1
        return f"{_PREFIX}{self.kind}-{self.owner}-{self._count}"

    def adopt(self, gang: Gang) -> None:
        """Say that a new worker is ours, so that no other driver takes it."""
        gang.actors[0].adopt.options(concurrency_group=CONTROL).remote(self.owner)

    def let_go(self, gang: Gang) -> None:
        """Leave an idle worker to the next driver."""
        with contextlib.suppress(Exception):  # it is gone already
            ray.get(gang.actors[0].let_go.options(concurrency_group=CONTROL).remote(), timeout=_PATIENCE)
