"""A few inputs at every border; `make fuzz` tries thousands. And the search itself finds what it should."""

import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from tests.fuzz.borders import FILES, run, search


@pytest.mark.slow  # a hundred plans
def test_no_input_ends_in_a_traceback(tmp_path: Path) -> None:
    outcome = search(tmp_path, count=100, seed=20, loads=False)
    assert not outcome.failures, list(outcome.failures.values())
    assert sum(outcome.tried.values()) == 100
    assert len(outcome.tried) > len(FILES) // 2
    assert outcome.kinds > 10


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("x"), "ValueError at "),
        (RecursionError(), "RecursionError at "),
        (SystemExit(3), "exit code 3"),
        (SystemExit(2), ""),
    ],
)
def test_what_a_command_raises_is_seen(error: BaseException, reason: str) -> None:
    with mock.patch("xlharm.cli.main.app", side_effect=error):
        assert run(["plan"])[3].startswith(reason)
        assert bool(run(["plan"])[3]) == bool(reason)


@pytest.mark.heavy  # imports torch
def test_no_input_has_to_import_what_tokenizers_need(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.fuzz.borders import search; "
        f"search(Path({str(tmp_path)!r}), count=0, seed=1); assert 'transformers.models.auto.tokenization_auto' in "
        "sys.modules and 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.parametrize("text", ["\x1b[31m", "\u202e", "x" * 30_000])
def test_what_acts_on_a_terminal_is_seen(text: str) -> None:
    def says(**_: object) -> None:
        import sys

        sys.stderr.write(text)
        raise SystemExit(2)

    with mock.patch("xlharm.cli.main.app", says):
        assert run(["plan"])[3]
