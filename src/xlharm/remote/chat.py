"""A client of OpenAI-compatible chat-completions endpoints with a cache and retries; it never shows its key."""

import email.utils
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from xlharm.errors import UserError
from xlharm.remote.answers import AnswerCache, writable
from xlharm.remote.endpoint import Endpoint, Estimate, Messages, Reply

_LONGEST_BACKOFF = 60.0  # seconds between attempts, unless the server asks for more
_LONGEST_RETRY_AFTER = 600.0  # seconds; when the server asks for a longer wait, the request ends as unavailable
_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}  # HTTP statuses that may pass


@dataclass
class ChatClient:
    """Sends requests to an endpoint. Every answer is cached before it is returned, so none is paid for twice.

    Args:
        endpoint: the endpoint.
        cache: folder of answers by content; None stores none.
        sleep: waits for some seconds; replaced in tests.
        stopped: returns True when no more requests shall be started.

    Attributes:
        tokens: (prompt, answer) tokens that the endpoint has counted for this client.

    Raises:
        UserError: the variable with the API key is not set, or holds something that cannot be a key.
    """

    endpoint: Endpoint
    cache: Path | None = None
    sleep: Callable[[float], None] = time.sleep
    stopped: Callable[[], bool] = lambda: False
    tokens: tuple[int, int] = (0, 0)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next_start: float = 0.0
    _structured: bool = True
    _limit_name: str = "max_tokens"
    _rejected: str = ""

    def __post_init__(self) -> None:
        name = self.endpoint.api_key_env
        self._key = os.environ.get(name, "").strip() if name else ""
        if name and not self._key:
            raise UserError(f"endpoint {self.endpoint.url}: the environment variable {name} is not set")
        if not (self._key.isascii() and self._key.isprintable()):
            raise UserError(
                f"endpoint {self.endpoint.url}: {name} holds characters that no key has: not printable ASCII"
            )
        logging.getLogger("httpcore").setLevel(logging.WARNING)  # its debug lines show headers, with the key
        base = self.endpoint.url.rstrip("/")
        self._answers = AnswerCache(self.cache)
        self._url = base if base.endswith("/chat/completions") else f"{base}/chat/completions"

    def ask_all(self, requests: Sequence[Messages], *, schema: dict[str, Any] | None = None) -> list[Reply]:
        """Return one reply for each request, in order; a failed request does not affect the others.

        Args:
            requests: the messages of each request.
            schema: JSON schema of the answers, for endpoints that can enforce it.
        """
        replies = dict(self.ask_each(requests, schema=schema))
        return [replies[i] for i in range(len(requests))]

    def ask_each(
        self,
        requests: Sequence[Messages],
        *,
        schema: dict[str, Any] | None = None,
        variants: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, Reply]]:
        """Yield (index of the request, reply) in the order in which replies arrive.

        Args:
            requests: the messages of each request.
            schema: as in ``ask_all``.
            variants: for each request, how many of its answers were rejected so far. The number is part of the
                cache's key, so a higher number asks again.
        """

        def one(number: int) -> Reply:
            identity = self._identity(requests[number], variants[number] if variants else 0)
            cached = self._answers.get(identity)
            return Reply(text=cached) if cached is not None else self._ask(client, requests[number], schema, identity)

        client = httpx.Client(timeout=self.endpoint.timeout, follow_redirects=False)
        pool = ThreadPoolExecutor(self.endpoint.max_in_flight)
        try:
            under_way = {pool.submit(one, number): number for number in range(len(requests))}
            for future in as_completed(under_way):
                yield under_way[future], future.result()
            client.close()
        finally:  # when the caller stops early, requests under way still end, and their answers are cached
            pool.shutdown(wait=False, cancel_futures=True)

    def estimate(
        self,
        requests: Sequence[Messages],
        *,
        tokens_out: Sequence[int] | None = None,
        variants: Sequence[int] | None = None,
    ) -> Estimate:
        """Estimate the cost of requests; those in the cache cost nothing.

        Args:
            requests: the messages of each request.
            tokens_out: expected tokens of each answer; None takes the longest possible answers.
            variants: as in ``ask_each``.
        """
        identities = [self._identity(m, variants[i] if variants else 0) for i, m in enumerate(requests)]
        fresh = [i for i, identity in enumerate(identities) if self._answers.get(identity) is None]
        e = self.endpoint
        sum_in = sum(about_tokens(content) + 4 for i in fresh for _, content in requests[i])
        sum_out = sum(tokens_out[i] if tokens_out else e.max_tokens for i in fresh)
        return Estimate(len(requests), len(requests) - len(fresh), sum_in, sum_out, self.price(sum_in, sum_out))

    def price(self, tokens_in: int, tokens_out: int) -> float | None:
        """Return the price of so many tokens; None when the endpoint has no prices."""
        e = self.endpoint
        if e.price_in is None or e.price_out is None:
            return None
        return (tokens_in * e.price_in + tokens_out * e.price_out) / 1e6

    # -- asking ----------------------------------------------------------------------------------------------

    def _identity(self, messages: Messages, variant: int = 0) -> list[Any]:
        """Return everything that determines an answer: the key of the cache."""
        e = self.endpoint
        identity = [e.model, e.temperature, e.max_tokens, [list(m) for m in messages]]
        return [*identity, variant] if variant else identity

    def _ask(
        self, client: httpx.Client, messages: Messages, schema: dict[str, Any] | None, identity: list[Any]
    ) -> Reply:
        last = ""
        for attempt in range(1, self.endpoint.attempts + 1):
            if self._rejected:
                return Reply(problem="rejected", detail=self._rejected)
            self._pace()
            if self.stopped():
                return Reply(problem="stopped")
            reply, last, wait = self._attempt(client, messages, schema)
            if reply is not None:
                if not reply.problem:
                    self._answers.keep(identity, reply.text)
                return reply
            if wait is not None and wait > _LONGEST_RETRY_AFTER:
                return Reply(problem="unavailable", detail=f"{last}, asks to wait {wait:.0f} s")
            if attempt < self.endpoint.attempts:
                backoff = min(_LONGEST_BACKOFF, 2.0**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                self.sleep(wait if wait is not None else backoff)
        return Reply(problem="unavailable", detail=f"{last}, {self.endpoint.attempts} attempts")

    def _attempt(
        self, client: httpx.Client, messages: Messages, schema: dict[str, Any] | None
    ) -> tuple[Reply | None, str, float | None]:
        """Send a request once; return (reply, error, seconds that the server asks to wait).

        The reply is None when another attempt may succeed.
        """
        try:
            response = self._send(client, messages, schema if self._structured else None)
        except httpx.HTTPError as error:
            return None, type(error).__name__, None
        code = response.status_code
        if code in _RETRIED:
            return None, f"HTTP {code}", _retry_after(response.headers.get("retry-after"))
        if code in {401, 403, 404}:
            self._rejected = f"HTTP {code}"  # every other request would be rejected, too
        if code != 200:
            # A message about a rejected key may quote the key, so it is not shown.
            message = "" if self._rejected else self._clean(_error_message(response))
            return Reply(problem="rejected", detail=f"HTTP {code}{message and ': '}{message}"), "", None
        return self._read(response), "HTTP 200 without a completion", None

    def _send(self, client: httpx.Client, messages: Messages, schema: dict[str, Any] | None) -> httpx.Response:
        """Send a request; when the endpoint does not know a field, send this and all later requests without it."""

        def post(schema: dict[str, Any] | None) -> httpx.Response:
            return client.post(self._url, json=self._body(messages, schema), headers=headers)

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        response = post(schema)
        if response.status_code == 400 and "max_completion_tokens" in response.text:
            self._limit_name = "max_completion_tokens"  # newer models require this name
            response = post(schema)
        if response.status_code == 400 and schema is not None:
            response = post(None)
            self._structured = response.status_code == 400  # it supports no schemas: only the prompt describes the form
        return response

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
            self._limit_name: e.max_tokens,
            "messages": [{"role": role, "content": writable(content)} for role, content in messages],
        }
        if schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            }
        return body

    def _read(self, response: httpx.Response) -> Reply | None:
        """Read a completion; None when the response contains none, so that the request is tried again."""
        try:
            completion = response.json()
            choice = completion["choices"][0]
            message = choice["message"]
            text, refusal = message.get("content"), message.get("refusal")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return None
        self._count(completion.get("usage"))
        if refusal or choice.get("finish_reason") == "content_filter":
            return Reply(problem="refusal", detail=self._clean(str(refusal or "the endpoint's filter"))[:200])
        if choice.get("finish_reason") == "length":
            return Reply(problem="truncated", detail=f"longer than {self.endpoint.max_tokens} tokens")
        if not isinstance(text, str) or not text.strip():
            return Reply(problem="junk", detail="an empty answer")
        return Reply(text=self._clean(text))

    def _count(self, usage: Any) -> None:
        """Add the token counts of a response."""
        if isinstance(usage, dict):
            values = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            counts = [count if isinstance(count, int) else 0 for count in values]
            with self._lock:
                self.tokens = (self.tokens[0] + counts[0], self.tokens[1] + counts[1])

    def _clean(self, text: str) -> str:
        """Remove the API key from a server's text."""
        text = writable(text)
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


def about_tokens(text: str) -> int:
    """Estimate how many tokens a text has: one for every four bytes."""
    return len(text.encode()) // 4


def _error_message(response: httpx.Response) -> str:
    """Return the endpoint's message about an error, on one line."""
    try:
        error = response.json()["error"]
        return " ".join(str(error["message"] if isinstance(error, dict) else error).split())[:200]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
