"""A chat-completions endpoint: its settings, its requests and its replies."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from xlharm.addresses import Address

Messages = tuple[tuple[str, str], ...]
"""(role, content) of each message."""

TEMPORARY = frozenset({"unavailable", "rejected"})
"""Problems that may pass: `--retry-failed` sends such requests again."""


class Endpoint(BaseModel):
    """Address, model and limits of an endpoint; only ``model``, ``temperature`` and ``max_tokens`` change answers.

    Attributes:
        url: base address, with or without `/chat/completions`.
        model: the endpoint's name of the model.
        api_key_env: NAME of the environment variable that holds the key.
        temperature: sampling temperature; 0 selects the likeliest tokens.
        max_tokens: most tokens in an answer.
        timeout: seconds for one attempt.
        attempts: most attempts for one request.
        max_in_flight: most requests at the same time.
        requests_per_minute: most requests started per minute; None sets no limit.
        price_in: price of a million prompt tokens, for the estimate.
        price_out: price of a million answer tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    url: Address
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
    """The reply to one request: a text, or a problem.

    Attributes:
        text: the answer; empty when there is a problem.
        problem: ``unavailable`` (all attempts failed), ``rejected`` (the endpoint refuses the request), ``truncated``
            (longer than max_tokens), ``refusal`` (the model declined), ``junk`` (not in the requested form),
            ``stopped`` (the client was stopped first); empty when there is an answer.
        detail: more about the problem, for people.
    """

    text: str = ""
    problem: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Estimate:
    """The estimated size and cost of requests, at about four bytes per token.

    Attributes:
        requests: number of requests.
        cached: number of requests whose answers are in the cache.
        tokens_in: prompt tokens of the other requests.
        tokens_out: answer tokens of the other requests.
        cost: their price, in the currency of the endpoint's prices; None without prices.
    """

    requests: int
    cached: int
    tokens_in: int
    tokens_out: int
    cost: float | None
