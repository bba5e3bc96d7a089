"""Remove secrets from messages: errors of other libraries may quote a token, or a URL with a password."""

import os
import re
from collections.abc import Mapping

_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)", re.IGNORECASE)
_SHAPES = re.compile(
    r"(?P<url>(?<=://)[^/\s:@]+:[^/\s@]+(?=@))"  # scheme://user:password@host
    r"|(?P<token>\b(?:hf_|ghp_|github_pat_|sk-|AKIA|xox[bp]-)[A-Za-z0-9_\-]{8,})"
    r"|(?P<bearer>(?<=[Bb]earer )[A-Za-z0-9._\-]{8,})"
)
_SHORTEST = 8  # shorter values of such variables are kept: they are words like `true`


def scrub(text: str, *, environment: Mapping[str, str] | None = None) -> str:
    """Replace secrets by ``***``: text in the form of one, and values of variables whose names suggest one.

    Args:
        text: a message or traceback.
        environment: the variables; None takes those of this process.
    """
    scrubbed = _SHAPES.sub("***", text)
    for name, value in (os.environ if environment is None else environment).items():
        if _NAMES.search(name) and len(value) >= _SHORTEST and not os.path.exists(value):  # noqa: PTH110 - may be any text
            scrubbed = scrubbed.replace(value, "***")
    return scrubbed
