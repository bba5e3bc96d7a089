"""Addresses of endpoints that stand in files: they hold no password and no key."""

import re
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field

_SECRET = re.compile(r"key|token|secret|password|passwd|credential|signature|auth|^sig$|^pw$", re.IGNORECASE)


def without_secret(address: str) -> str:
    """Return an address that holds no secret: grid files, the notes of a store and records would show it.

    Raises:
        ValueError: it holds a user or password, a parameter that is named like a secret, or cannot be read.
    """
    parts = urlsplit(address)
    if parts.username is not None or parts.password is not None:
        raise ValueError("expected an address without user and password; name a variable with the key: api_key_env")
    named = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET.search(name)]
    if named:
        raise ValueError(f"expected an address without {named[0]!r}; name a variable with the key: api_key_env")
    return address


Address = Annotated[str, Field(pattern=r"^https?://"), AfterValidator(without_secret)]
"""An address of an endpoint, http or https, without secrets."""
