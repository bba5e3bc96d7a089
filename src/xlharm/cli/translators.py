"""The translators of `xlharm data translate`, a paid endpoint or a local model, and their progress bar."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, Self

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from xlharm.cli.planning import clock
from xlharm.corpus.translate.backend import Backend
from xlharm.corpus.translate.chat import PROMPT_VERSION, ChatTranslator
from xlharm.corpus.translate.folder import Folder, Maker
from xlharm.corpus.translate.source import ModelSource, source_of
from xlharm.corpus.translate.translation import Step, TranslationWork
from xlharm.errors import UserError
from xlharm.remote.chat import ChatClient
from xlharm.remote.endpoint import Endpoint

_PLAIN_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class ChatSide:
    """Translation by a chat model at an endpoint.

    Attributes:
        endpoint: the endpoint and its settings.
        yes: whether the user has agreed to any cost.
    """

    endpoint: Endpoint
    yes: bool

    @classmethod
    def of(cls, *, url: str, yes: bool, **fields: Any) -> Self:
        """Check the settings of an endpoint, and that its key is set.

        Raises:
            UserError: a setting such as the address is not valid, or the key's environment variable is not set.
        """
        try:
            endpoint = Endpoint(url=url, **fields)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = str(first["loc"][0])
            if field == "url":
                refused = first["type"] == "value_error"  # it holds a secret, which is not repeated
                reason = first["msg"].removeprefix("Value error, ")
                wanted = (
                    f"--endpoint: {reason}"
                    if refused
                    else f"--endpoint {url}: expected an address such as https://host/v1"
                )
                raise UserError(wanted) from None
            raise UserError(f"--{field.replace('_', '-')}: expected another value") from None
        ChatClient(endpoint)
        return cls(endpoint=endpoint, yes=yes)

    @property
    def maker(self) -> Maker:
        """Model and settings that corpus.yaml records; the endpoint's address is not among them."""
        return {
            "kind": "chat", "model": self.endpoint.model, "temperature": self.endpoint.temperature,
            "prompt": PROMPT_VERSION,
        }  # fmt: skip

    def agree(self, work: TranslationWork, folder: Folder, console: Console) -> None:
        """Show the estimated cost, and ask for confirmation.

        Raises:
            UserError: confirmation is needed, but there is no terminal to ask on.
        """
        scored = sum(map(len, work.tasks.values())) + sum(work.unscored.values()) if work.unscored else 0
        estimate = ChatTranslator(self._client(folder, stopped=lambda: False)).estimate(work.tasks, scored=scored)
        requests = estimate.requests - estimate.cached
        summary = (
            f"{requests} answers to ask for ({estimate.cached} are kept), about {estimate.tokens_in:,} tokens in and "
        )
        summary += f"{estimate.tokens_out:,} out: "
        summary += "no --price-in and --price-out given" if estimate.cost is None else f"about ${estimate.cost:,.2f}"
        console.print(f"{summary}; answers that fail a check cost a second request each", markup=False, soft_wrap=True)
        if self.yes or not requests or estimate.cost == 0:
            return
        if not sys.stdin.isatty():
            raise UserError("--yes: needed where nobody can be asked to agree to the cost, as there is no terminal")
        typer.confirm("Go on?", abort=True)

    @contextlib.contextmanager
    def backend(self, _work: TranslationWork, folder: Folder, *, stopped: Callable[[], bool]) -> Iterator[Backend]:
        """Yield the translator; afterwards print the tokens that were used."""
        client = self._client(folder, stopped=stopped)
        yield ChatTranslator(client)
        if any(client.tokens):
            cost = client.price(*client.tokens)
            usage = f"used: {client.tokens[0]:,} tokens in, {client.tokens[1]:,} out"
            typer.echo(usage + ("" if cost is None else f": ${cost:,.2f}"))

    def _client(self, folder: Folder, *, stopped: Callable[[], bool]) -> ChatClient:
        def sleep(seconds: float) -> None:
            until = time.monotonic() + seconds
            while not stopped() and (left := until - time.monotonic()) > 0:
                time.sleep(min(0.2, left))

        return ChatClient(self.endpoint, cache=folder.cache, sleep=sleep, stopped=stopped)


@dataclass(frozen=True, kw_only=True)
class LocalSide:
    """Translation by a local model; fields as in ``Seq2SeqConfig``.

    Attributes:
        address: address of a Ray cluster; None for none.
        workers: number of Ray workers. If it and ``address`` are None, the model runs in this process.
    """

    model: str
    revision: str | None
    device: Literal["auto", "cpu", "cuda"]
    batch: int
    beams: int
    codes: dict[str, str]
    address: str | None
    workers: int | None

    @cached_property
    def source(self) -> ModelSource:
        """The translation model and its version."""
        return source_of(self.model, revision=self.revision)

    @property
    def maker(self) -> Maker:
        """Model and settings that corpus.yaml records."""
        return {"kind": "seq2seq", "model": self.source.name, "revision": self.source.version, "beams": self.beams}

    def agree(self, _work: TranslationWork, _folder: Folder, console: Console) -> None:
        """Print that the model is loading; a local model costs nothing."""
        console.print(f"{self.model}: loading", markup=False)

    @contextlib.contextmanager
    def backend(self, work: TranslationWork, _folder: Folder, *, stopped: Callable[[], bool]) -> Iterator[Backend]:
        """Yield the translator, in this process or on Ray workers."""
        if self.address is not None or self.workers is not None:
            from xlharm.engine.ray.cluster import prepare

            prepare(self.address)  # before anything imports Ray
        from xlharm.corpus.translate.seq2seq import Seq2Seq, Seq2SeqConfig

        config = Seq2SeqConfig(
            source=self.source.base, device=self.device, batch=self.batch, beams=self.beams, codes=self.codes
        )
        if self.address is None and self.workers is None:
            yield Seq2Seq(config, stopped=stopped)
            return
        from xlharm.engine.ray.cluster import connected
        from xlharm.engine.ray.translate import RayTranslator

        with connected(self.address, cpus=self.workers, device=self.device) as cluster:
            backend = RayTranslator(config, cluster=cluster, workers=self.workers, most=work.steps, stopped=stopped)
            try:
                yield backend
            finally:
                backend.close()


class Steps:
    """A progress bar with the time left on a terminal; else one plain line every ten seconds."""

    def __init__(self, console: Console, *, total: int) -> None:
        self._console, self._began, self._shown = console, time.monotonic(), time.monotonic()
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]}"),
            TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(),
        )  # fmt: skip
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("translating", total=total, failed="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, step: Step) -> None:
        """Show the progress."""
        failed = f"{step.failed} failed" if step.failed else ""
        self._bar.update(self._task, completed=step.done, total=step.total, description=step.language, failed=failed)
        now = time.monotonic()
        if not self._bar.disable or now - self._shown < _PLAIN_SECONDS:
            return
        self._shown = now
        left = (now - self._began) / step.done * (step.total - step.done)
        line = f"{step.language}: {step.done}/{step.total}{failed and ', '}{failed}, ETA {clock(left)}"
        self._console.print(line, markup=False, soft_wrap=True)
