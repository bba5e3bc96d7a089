"""A client of OpenAI-compatible chat-completions endpoints: cached, patient, and silent about its key."""

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

_LONGEST_WAIT = 60.0
_LONGEST_ASKED = 600.0  # a server that asks for a longer wait is left for another day
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}


@dataclass
class ChatClient:
    """Asks an endpoint; every answer is in the cache before it is returned, so nothing is paid twice.

    Args:
        endpoint: where.
        cache: folder of answers by content; None keeps none.
        sleep: waits; replaced in tests.
        stopped: whether to begin no more requests.

    Attributes:
        tokens: (prompt, answer) tokens that the endpoint has counted for this client.
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
            raise UserError(f"endpoint {_shown(self.endpoint.url)}: the environment variable {name} is not set")
        if not (self._key.isascii() and self._key.isprintable()):
            raise UserError(f"endpoint {_shown(self.endpoint.url)}: {name} holds what no key has: not plain ASCII")
        logging.getLogger("httpcore").setLevel(logging.WARNING)  # its debug lines show headers, ours and the server's
        base = self.endpoint.url.rstrip("/")
        self._answers = AnswerCache(self.cache)
        self._url = base if base.endswith("/chat/completions") else f"{base}/chat/completions"

    def ask_all(self, requests: Sequence[Messages], *, schema: dict[str, Any] | None = None) -> list[Reply]:
        """Return one reply for each request, in order; one request's trouble never costs another's answer.

        Args:
            requests: messages of each.
            schema: JSON schema that the answer should follow, for endpoints that can hold a model to it.
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
        """Yield (number of the request, reply) as they come.

        Args:
            requests: messages of each.
            schema: as in ``ask_all``.
            variants: for each request, how often its kept answer was found wanting; another number asks anew.
        """

        def one(number: int) -> Reply:
            asked = self._asked(requests[number], variants[number] if variants else 0)
            kept = self._answers.get(asked)
            return Reply(text=kept) if kept is not None else self._ask(client, requests[number], schema, asked)

        client = httpx.Client(timeout=self.endpoint.timeout, follow_redirects=False)
        pool = ThreadPoolExecutor(self.endpoint.max_in_flight)
        try:
            under_way = {pool.submit(one, number): number for number in range(len(requests))}
            for future in as_completed(under_way):
                yield under_way[future], future.result()
            client.close()
        finally:  # left midway, what is under way ends by itself, and its answers are kept
            pool.shutdown(wait=False, cancel_futures=True)

    def estimate(
        self,
        requests: Sequence[Messages],
        *,
        tokens_out: Sequence[int] | None = None,
        variants: Sequence[int] | None = None,
    ) -> Estimate:
        """Guess what asking would cost; what is in the cache costs nothing.

        Args:
            requests: messages of each.
            tokens_out: tokens that each answer may have; without it the most there can be.
            variants: as in ``ask_each``.
        """
        asked = [self._asked(m, variants[i] if variants else 0) for i, m in enumerate(requests)]
        fresh = [i for i, told in enumerate(asked) if self._answers.get(told) is None]
        e = self.endpoint
        told_in = sum(about_tokens(content) + 4 for i in fresh for _, content in requests[i])
        told_out = sum(tokens_out[i] if tokens_out else e.max_tokens for i in fresh)
        cost = self.price(told_in, told_out)
        return Estimate(len(requests), len(requests) - len(fresh), told_in, told_out, cost)

    def price(self, tokens_in: int, tokens_out: int) -> float | None:
        """Return what so many tokens cost; None without prices."""
        e = self.endpoint
        if e.price_in is None or e.price_out is None:
            return None
        return (tokens_in * e.price_in + tokens_out * e.price_out) / 1e6

    # -- asking ----------------------------------------------------------------------------------------------

    def _asked(self, messages: Messages, variant: int = 0) -> list[Any]:
        """Return what determines an answer."""
        e = self.endpoint
        told = [e.model, e.temperature, e.max_tokens, [list(m) for m in messages]]
        return [*told, variant] if variant else told

    def _ask(self, client: httpx.Client, messages: Messages, schema: dict[str, Any] | None, asked: list[Any]) -> Reply:
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
                    self._answers.keep(asked, reply.text)
                return reply
            if wait is not None and wait > _LONGEST_ASKED:
                return Reply(problem="unavailable", detail=f"{last}, asks to wait {wait:.0f} s")
            if attempt < self.endpoint.attempts:
                backed_off = min(_LONGEST_WAIT, 2.0**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                self.sleep(wait if wait is not None else backed_off)
        return Reply(problem="unavailable", detail=f"{last}, {self.endpoint.attempts} attempts")

    def _attempt(
        self, client: httpx.Client, messages: Messages, schema: dict[str, Any] | None
    ) -> tuple[Reply | None, str, float | None]:
        """Ask once; return (reply, trouble, seconds that the server asks to wait): no reply is worth another try."""
        try:
            response = self._send(client, messages, schema if self._structured else None)
        except httpx.HTTPError as error:
            return None, type(error).__name__, None
        code = response.status_code
        if code in _AGAIN:
            return None, f"HTTP {code}", _retry_after(response.headers.get("retry-after"))
        if code in {401, 403, 404}:
            self._rejected = f"HTTP {code}"  # no other request would fare better
        if code != 200:
            told = "" if self._rejected else self._clean(_told(response))  # about a key, servers may repeat it
            return Reply(problem="rejected", detail=f"HTTP {code}{told and ': '}{told}"), "", None
        return self._read(response), "HTTP 200 without a completion", None

    def _send(self, client: httpx.Client, messages: Messages, schema: dict[str, Any] | None) -> httpx.Response:
        """Ask; where the endpoint does not know a field, ask without, from now on."""

        def post(schema: dict[str, Any] | None) -> httpx.Response:
            return client.post(self._url, json=self._body(messages, schema), headers=headers)

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        response = post(schema)
        if response.status_code == 400 and "max_completion_tokens" in response.text:
            self._limit_name = "max_completion_tokens"  # newer models have renamed it
            response = post(schema)
        if response.status_code == 400 and schema is not None:
            response = post(None)
            self._structured = response.status_code == 400  # it knows no schemas: the prompt alone asks for the form
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
            told = {"name": "answer", "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": told}
        return body

    def _read(self, response: httpx.Response) -> Reply | None:
        """Read a completion; None when there is none in it, which is worth another attempt."""
        try:
            whole = response.json()
            choice = whole["choices"][0]
            message = choice["message"]
            text, refusal = message.get("content"), message.get("refusal")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return None
        self._count(whole.get("usage"))
        if refusal or choice.get("finish_reason") == "content_filter":
            return Reply(problem="refusal", detail=self._clean(str(refusal or "the endpoint's filter"))[:200])
        if choice.get("finish_reason") == "length":
            return Reply(problem="truncated", detail=f"longer than {self.endpoint.max_tokens} tokens")
        if not isinstance(text, str) or not text.strip():
            return Reply(problem="junk", detail="an empty answer")
        return Reply(text=self._clean(text))

    def _count(self, usage: Any) -> None:
        """Add what the endpoint says it has counted."""
        if isinstance(usage, dict):
            said = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            more = [count if isinstance(count, int) else 0 for count in said]
            with self._lock:
                self.tokens = (self.tokens[0] + more[0], self.tokens[1] + more[1])

    def _clean(self, text: str) -> str:
        """Take our key out of what a server sends back."""
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
    """Guess how many tokens a text has."""
    return len(text.encode()) // 4


def _told(response: httpx.Response) -> str:
    """Return an endpoint's own words about an error, on one line."""
    try:
        error = response.json()["error"]
        return " ".join(str(error["message"] if isinstance(error, dict) else error).split())[:200]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _shown(url: str) -> str:
    """Return an address without what may be a password in it."""
    return str(httpx.URL(url).copy_with(userinfo=b""))
