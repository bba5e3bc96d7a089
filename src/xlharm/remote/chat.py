"""A client of OpenAI-compatible chat-completions endpoints: cached, patient, and silent about its key."""

import email.utils
import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import BaseModel, ConfigDict, Field

from xlharm.errors import UserError
from xlharm.plan.digest import digest

Messages = tuple[tuple[str, str], ...]
"""(role, content) of each message."""

_LONGEST_WAIT = 60.0
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}


class Endpoint(BaseModel):
    """Where to ask and how hard to try; only ``model``, ``temperature`` and ``max_tokens`` change answers.

    Attributes:
        url: base address, with or without `/chat/completions`.
        model: the endpoint's name of the model.
        api_key_env: NAME of the environment variable that holds the key.
        temperature: 0 asks for the likeliest answer.
        max_tokens: longest answer.
        timeout: seconds for one attempt.
        attempts: most attempts of one request.
        max_in_flight: requests at the same time.
        requests_per_minute: most requests started in a minute; None is as fast as they are answered.
        price_in: price of a million prompt tokens, for the estimate.
        price_out: price of a million answer tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    url: Annotated[str, Field(pattern=r"^https?://")]
    model: str
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    max_tokens: Annotated[int, Field(ge=1)] = 200
    timeout: Annotated[float, Field(gt=0)] = 60.0
    attempts: Annotated[int, Field(ge=1)] = 6
    max_in_flight: Annotated[int, Field(ge=1)] = 8
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    price_in: Annotated[float, Field(ge=0)] | None = None
    price_out: Annotated[float, Field(ge=0)] | None = None


@dataclass(frozen=True)
class Reply:
    """What came of one request: a text, or a problem.

    ``problem`` is one word: ``unavailable`` (gave up after all attempts), ``rejected`` (the endpoint will not take
    it), ``truncated`` (longer than max_tokens), ``refusal`` (the model declined), ``junk`` (not what was asked for).
    """

    text: str = ""
    problem: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Estimate:
    """A guess before anything is asked: about four bytes a token; ``cost`` is None without prices."""

    requests: int
    cached: int
    tokens_in: int
    tokens_out: int
    cost: float | None


@dataclass
class ChatClient:
    """Asks an endpoint; every answer is in the cache before it is returned, so nothing is paid twice.

    Args:
        endpoint: where.
        cache: folder of answers by content; None keeps none.
        sleep: waits; replaced in tests.
    """

    endpoint: Endpoint
    cache: Path | None = None
    sleep: Callable[[float], None] = time.sleep
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next_start: float = 0.0
    _structured: bool = True
    _rejected: str = ""

    def __post_init__(self) -> None:
        name = self.endpoint.api_key_env
        self._key = os.environ.get(name, "").strip() if name else ""
        if name and not self._key:
            raise UserError(f"judge endpoint {_shown(self.endpoint.url)}: the environment variable {name} is not set")
        if not (self._key.isascii() and self._key.isprintable()):
            raise UserError(
                f"judge endpoint {_shown(self.endpoint.url)}: {name} holds what no key has: not plain ASCII"
            )
        logging.getLogger("httpcore").setLevel(logging.WARNING)  # its debug lines show headers, ours and the server's
        base = self.endpoint.url.rstrip("/")
        self._url = base if base.endswith("/chat/completions") else f"{base}/chat/completions"

    def ask_all(
        self,
        requests: Sequence[Messages],
        *,
        schema: dict[str, Any] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Reply]:
        """Return one reply for each request, in order; one request's trouble never costs another's answer.

        Args:
            requests: messages of each.
            schema: JSON schema that the answer should follow, for endpoints that can hold a model to it.
            progress: called with the number of replies so far.
        """
        done = 0

        def one(messages: Messages) -> Reply:
            nonlocal done
            reply = self._cached(messages) or self._ask(client, messages, schema)
            with self._lock:
                done += 1
                if progress:
                    progress(done)
            return reply

        with (
            httpx.Client(timeout=self.endpoint.timeout, follow_redirects=False) as client,
            ThreadPoolExecutor(self.endpoint.max_in_flight) as pool,
        ):
            return list(pool.map(one, requests))

    def estimate(self, requests: Iterable[Messages]) -> Estimate:
        """Guess what asking would cost; what is in the cache costs nothing."""
        everything = list(requests)
        fresh = [m for m in everything if self._cached(m) is None]
        tokens_in = sum(len(content.encode()) // 4 + 4 for m in fresh for _, content in m)
        tokens_out = len(fresh) * self.endpoint.max_tokens
        e = self.endpoint
        known = e.price_in is not None and e.price_out is not None
        cost = (tokens_in * (e.price_in or 0) + tokens_out * (e.price_out or 0)) / 1e6 if known else None
        return Estimate(len(everything), len(everything) - len(fresh), tokens_in, tokens_out, cost)

    # -- cache -----------------------------------------------------------------------------------------------

    def _place(self, messages: Messages) -> Path | None:
        if self.cache is None:
            return None
        e = self.endpoint
        key = digest([e.model, e.temperature, e.max_tokens, [list(m) for m in messages]])
        return self.cache / key[:2] / f"{key}.json"

    def _cached(self, messages: Messages) -> Reply | None:
        place = self._place(messages)
        try:
            return Reply(text=str(json.loads(place.read_text("utf-8"))["text"])) if place else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _keep(self, messages: Messages, text: str) -> None:
        place = self._place(messages)
        if place is None:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = place.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        scratch.write_text(json.dumps({"text": text}, ensure_ascii=False), "utf-8")
        scratch.replace(place)

    # -- asking ----------------------------------------------------------------------------------------------

    def _ask(self, client: httpx.Client, messages: Messages, schema: dict[str, Any] | None) -> Reply:
        last = ""
        for attempt in range(1, self.endpoint.attempts + 1):
            if self._rejected:
                return Reply(problem="rejected", detail=self._rejected)
            self._pace()
            reply, last, wait = self._attempt(client, messages, schema)
            if reply is not None:
                return reply
            if attempt < self.endpoint.attempts:
                backed_off = min(_LONGEST_WAIT, 2.0**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                self.sleep(min(_LONGEST_WAIT, wait) if wait is not None else backed_off)
        return Reply(problem="unavailable", detail=f"{last}, {self.endpoint.attempts} attempts")

    def _attempt(
        self, client: httpx.Client, messages: Messages, schema: dict[str, Any] | None
    ) -> tuple[Reply | None, str, float | None]:
        """Ask once; return (reply, trouble, seconds that the server asks to wait): no reply is worth another try."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        structured = schema if self._structured else None
        try:
            response = client.post(self._url, json=self._body(messages, structured), headers=headers)
            if response.status_code == 400 and structured is not None:
                self._structured = False  # this endpoint knows no schemas: the prompt alone asks for the form
                response = client.post(self._url, json=self._body(messages, None), headers=headers)
        except httpx.HTTPError as error:
            return None, type(error).__name__, None
        code = response.status_code
        if code in _AGAIN:
            return None, f"HTTP {code}", _retry_after(response.headers.get("retry-after"))
        if code != 200:
            if code in {401, 403, 404}:
                self._rejected = f"HTTP {code}"  # no other request would fare better
            return Reply(problem="rejected", detail=f"HTTP {code}"), "", None
        reply = self._read(response)
        if reply is not None and not reply.problem:
            self._keep(messages, reply.text)
        return reply, "HTTP 200 without a completion", None

    def _pace(self) -> None:
        """Wait until another request may start."""
        if self.endpoint.requests_per_minute is None:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + 60.0 / self.endpoint.requests_per_minute
        if start > now:
            self.sleep(start - now)

    def _body(self, messages: Messages, schema: dict[str, Any] | None) -> dict[str, Any]:
        e = self.endpoint
        body: dict[str, Any] = {
            "model": e.model,
            "temperature": e.temperature,
            "max_tokens": e.max_tokens,
            "messages": [{"role": role, "content": _writable(content)} for role, content in messages],
        }
        if schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        return body

    def _read(self, response: httpx.Response) -> Reply | None:
        """Read a completion; None when there is none in it, which is worth another attempt."""
        try:
            choice = response.json()["choices"][0]
            message = choice["message"]
            text, refusal = message.get("content"), message.get("refusal")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return None
        if refusal:
            return Reply(problem="refusal", detail=self._clean(str(refusal))[:200])
        if choice.get("finish_reason") == "length":
            return Reply(problem="truncated", detail=f"longer than {self.endpoint.max_tokens} tokens")
        if not isinstance(text, str) or not text.strip():
            return Reply(problem="junk", detail="an empty answer")
        return Reply(text=self._clean(text))

    def _clean(self, text: str) -> str:
        """Take our key out of what a server sends back."""
        text = _writable(text)
        return text.replace(self._key, "***") if self._key else text


def _retry_after(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _writable(text: str) -> str:
    """Replace halves of surrogate pairs, which cannot be sent or stored."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _shown(url: str) -> str:
    """Return an address without what may be a password in it."""
    return str(httpx.URL(url).copy_with(userinfo=b""))
