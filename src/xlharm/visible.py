"""Hostile text made safe to look at: corpora, file names and models' answers reach the terminal through here only."""

import re

# What could reorder, hide or break the text around it: directional embeddings, overrides and isolates, control
# characters (newline and tab apart), line separators, interlinear and tag characters, the byte order mark, halves of
# characters. Zero-width joiners and the plain direction marks stay: Urdu and Persian are written with them.
CONTROL = re.compile(
    "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb"
    "\\ud800-\\udfff\\U000e0000-\\U000e007f]"
)


def visible(text: str) -> str:
    """Write out controls as ``<U+001B>``; newlines and tabs stay."""
    return CONTROL.sub(lambda hit: f"<U+{ord(hit.group()):04X}>", text)


def one_line(text: str, *, most: int | None = None) -> str:
    """Make a text one line with controls written out.

    Args:
        text: anything.
        most: characters kept; what is cut off is shown by ``…``.
    """
    line = visible(" ".join(text.split()))
    return line if most is None or len(line) <= most else f"{line[:most].rstrip()} …"
