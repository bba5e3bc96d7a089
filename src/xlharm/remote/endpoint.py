"""Where a chat-completions endpoint is, and what is said to it and by it."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Messages = tuple[tuple[str, str], ...]
"""(role, content) of each message."""

TEMPORARY = frozenset({"unavailable", "rejected"})
"""Problems of a reply that may be gone another day: `--retry-failed` asks again."""


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
    it), ``truncated`` (longer than max_tokens), ``refusal`` (the model declined), ``junk`` (not what was asked for),
    ``stopped`` (somebody stopped the client first).
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
