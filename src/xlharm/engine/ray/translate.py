"""Translation models on Ray: one actor per GPU (or per machine without GPUs); the items are shared among them."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import ray

from xlharm.corpus.format import Item
from xlharm.corpus.translate.backend import Back, TranslationOutcome, TranslationTask
from xlharm.corpus.translate.seq2seq import CHUNK, Seq2Seq, Seq2SeqConfig
from xlharm.engine.placement import WorkerShape, worker_shape
from xlharm.engine.ray.cluster import Cluster
from xlharm.engine.trouble import EngineError, Trouble, trouble_of
from xlharm.errors import StoppedError, UserError
from xlharm.parallel import user_threads

_LOSSES = 3  # a chunk is tried again after so many lost workers
_POLL_SECONDS = 0.5  # between checks whether the run is stopped


class _Worker:
    """The class of the actors. Calls return errors as data: an exception in Ray means that the process is lost."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        self._config = config
        self._model: Seq2Seq | None = None

    def work(self, name: str, chunk: list[Any], language: str) -> list[Any] | Trouble:
        """Call the model's ``make`` or ``back`` on a chunk."""
        try:
            if self._model is None:
                self._model = Seq2Seq(self._config)
            return list(getattr(self._model, name)(chunk, language=language))
        except Exception as error:  # noqa: BLE001 - trouble_of classifies every error for the driver
            return trouble_of(error)


class RayTranslator:
    """A ``Backend`` that shares items among several copies of one translation model.

    Args:
        config: configuration of each copy.
        cluster: the cluster that this process is connected to.
        workers: number of copies; None takes one per GPU, or one per machine without GPUs.
        most: number of items.
        stopped: returns True when no more chunks shall be started.

    Raises:
        UserError: there is no such device.
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
        self._shape: WorkerShape = worker_shape(
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

    def make(self, tasks: Sequence[TranslationTask], *, language: str) -> Iterator[TranslationOutcome]:
        """Translate English items."""
        return self._shared("make", tasks, language)

    def back(self, items: Sequence[Item], *, language: str) -> Iterator[Back]:
        """Translate the articles and questions of translated items back into English."""
        return self._shared("back", items, language)

    def _start(self) -> Any:
        needs = {"num_cpus": self._shape.cpus, "num_gpus": self._shape.gpus}
        self._actors.append(ray.remote(_Worker).options(**needs).remote(self._config))
        return self._actors[-1]

    def _shared(self, name: str, entries: Sequence[Any], language: str) -> Iterator[Any]:
        """Send chunks of entries to idle workers; a lost worker's chunk goes to another worker."""
        size = max(1, min(CHUNK, len(entries) // (2 * self._shape.workers)))
        chunks = deque((list(entries[i : i + size]), 0) for i in range(0, len(entries), size))
        under_way: dict[Any, tuple[Any, list[Any], int]] = {}
        while chunks or under_way:
            if self._stopped():
                raise StoppedError("stopped")
            while chunks and self._idle:
                actor, (chunk, losses) = self._idle.pop(), chunks.popleft()
                under_way[actor.work.remote(name, chunk, language)] = (actor, chunk, losses)
            ready, _ = ray.wait(list(under_way), num_returns=1, timeout=_POLL_SECONDS)
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
    """Return a worker's answer; None when the worker is lost."""
    try:
        return ray.get(call)  # type: ignore[no-any-return] # Ray has no types
    except (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError):
        return None


def _unless_trouble(answer: list[Any] | Trouble) -> list[Any]:
    if isinstance(answer, Trouble):
        raise (UserError if answer.kind == "user" else EngineError)(answer.message)
    return answer
