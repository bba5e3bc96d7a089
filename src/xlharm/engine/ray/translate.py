"""Translation models on Ray: one actor a GPU (or CPU machine), which share the items."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import ray

from xlharm.corpus.format import Item
from xlharm.corpus.translate.backend import Back, Outcome, Task
from xlharm.corpus.translate.seq2seq import CHUNK, Seq2Seq, Seq2SeqConfig
from xlharm.engine.placement import Shape, shape_of
from xlharm.engine.ray.cluster import Cluster
from xlharm.engine.trouble import EngineError, Trouble, trouble_of
from xlharm.errors import StoppedError, UserError
from xlharm.parallel import user_threads

_LOSSES = 3  # lost workers that a chunk survives
_LOOK = 0.5  # seconds between looks at whether somebody stopped us


class _Worker:
    """Body of the actor. Every call returns plain data: an exception here means a lost process."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        self._config = config
        self._model: Seq2Seq | None = None

    def work(self, name: str, chunk: list[Any], language: str) -> list[Any] | Trouble:
        """Call the model's ``make`` or ``back`` on a chunk."""
        try:
            if self._model is None:
                self._model = Seq2Seq(self._config)
            return list(getattr(self._model, name)(chunk, language=language))
        except Exception as error:  # noqa: BLE001 - all of it is classified for the driver
            return trouble_of(error)


class RayTranslator:
    """A ``Backend`` of several models.

    Args:
        config: of each model.
        cluster: that we are connected to.
        workers: how many; None takes one per GPU, or one per CPU machine.
        most: items there are.
        stopped: whether to begin nothing more.

    Raises:
        UserError: no such device.
    """

    def __init__(
        self,
        config: Seq2SeqConfig,
        *,
        cluster: Cluster,
        workers: int | None,
        most: int,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._shape: Shape = shape_of(
            cluster.cpus(),
            cluster.gpus(),
            device=config.device,
            workers=workers,
            ranks=1,
            most=max(1, most),
            threads=user_threads(),
        )
        self._config = replace(config, device=self._shape.device, threads=self._shape.threads)
        self._stopped = stopped
        self._actors: list[Any] = []
        self._idle = [self._start() for _ in range(self._shape.workers)]

    def close(self) -> None:
        """End the workers."""
        for actor in self._actors:
            ray.kill(actor, no_restart=True)

    def make(self, tasks: Sequence[Task], *, language: str) -> Iterator[Outcome]:
        """Translate English items."""
        return self._shared("make", tasks, language)

    def back(self, items: Sequence[Item], *, language: str) -> Iterator[Back]:
        """Put the articles and questions of translated items into English."""
        return self._shared("back", items, language)

    def _start(self) -> Any:
        needs = {"num_cpus": self._shape.cpus, "num_gpus": self._shape.gpus}
        self._actors.append(ray.remote(_Worker).options(**needs).remote(self._config))
        return self._actors[-1]

    def _shared(self, name: str, things: Sequence[Any], language: str) -> Iterator[Any]:
        """Hand out chunks to whoever is idle; what a lost worker had goes to another one."""
        size = max(1, min(CHUNK, len(things) // (2 * self._shape.workers)))
        chunks = deque((list(things[i : i + size]), 0) for i in range(0, len(things), size))
        under_way: dict[Any, tuple[Any, list[Any], int]] = {}
        while chunks or under_way:
            if self._stopped():
                raise StoppedError("stopped")
            while chunks and self._idle:
                actor, (chunk, losses) = self._idle.pop(), chunks.popleft()
                under_way[actor.work.remote(name, chunk, language)] = (actor, chunk, losses)
            ready, _ = ray.wait(list(under_way), num_returns=1, timeout=_LOOK)
            for call in ready:
                actor, chunk, losses = under_way.pop(call)
                answer = _answer(call)
                if answer is None:
                    if losses == _LOSSES:
                        raise EngineError(f"{_LOSSES + 1} workers were lost over the same items")
                    chunks.append((chunk, losses + 1))
                    actor = self._start()
                self._idle.append(actor)
                yield from _unless_trouble(answer or [])


def _answer(call: Any) -> list[Any] | Trouble | None:
    """Return what a worker says; None when it is lost."""
    try:
        return ray.get(call)  # type: ignore[no-any-return]
    except (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError):
        return None


def _unless_trouble(answer: list[Any] | Trouble) -> list[Any]:
    if isinstance(answer, Trouble):
        raise (UserError if answer.kind == "user" else EngineError)(answer.message)
    return answer
