"""What holds for every command."""

import subprocess

from tests.cli.conftest import command, environment


def test_a_terminal_in_latin_1_or_ascii_shows_escapes() -> None:
    for encoding in ("latin-1", "ascii"):
        env = {**environment(), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        shown = command("data", "show", "tw-r-f00", "--lang", "ur")
        done = subprocess.run(shown, capture_output=True, env=env, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        assert b"\\u06" in done.stdout  # Urdu
