"""What no linter checks: an exception to a rule says why."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "tests", "benchmarks", "recipes")
_DIRECTIVE = re.compile(r"(?:noqa(?::[ A-Z0-9,]*[A-Z0-9])?|type: ignore(?:\[[a-z\-, ]*\])?)")
_REASON = re.compile(r"\s+[-#]\s*\w.*")


def unexplained(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line number and text of each comment that ends in a directive, or whose directive names no rule."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        directives = list(_DIRECTIVE.finditer(token.string)) if token.type == tokenize.COMMENT else []
        if not directives:
            continue
        names_rules = all(":" in d[0].removeprefix("type:") or "[" in d[0] for d in directives)
        if not names_rules or not _REASON.fullmatch(token.string, directives[-1].end()):
            yield token.start[0], token.string


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_exception_carries_its_reason(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    missing = [
        f"{path.relative_to(ROOT)}:{line}: {comment}"
        for path in files
        for line, comment in unexplained(path.read_text("utf-8"))
    ]
    assert not missing, "write the reason behind it:\n" + "\n".join(missing)


@pytest.mark.parametrize(
    ("comment", "explained"),
    [
        ("# no" + "qa: S311 - no secret", True),
        ("# no" + "qa: S311", False),
        ("# no" + "qa", False),
        ("# no" + "qa - whatever it is", False),
        ("# type: " + "ignore[misc] # Ray has no types", True),
        ("# type: " + "ignore[misc, arg-type]", False),
        ("# type: " + "ignore # Ray has no types", False),
        ("# type: " + "ignore[misc] # no" + "qa: SLF001 - its only name", True),
        ("# type: " + "ignore[misc] # no" + "qa: SLF001", False),
        ("# a plain comment", True),
    ],
)
def test_what_counts_as_a_reason(comment: str, explained: bool) -> None:
    assert [text for _, text in unexplained(f"x = 1  {comment}\n")] == ([] if explained else [comment])
