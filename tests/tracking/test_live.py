import sys
from pathlib import Path

import pytest

from xlharm.errors import UserError
from xlharm.tracking.live import LOG, Live

UNTIL_CLOSED = "import sys; sys.stdin.read(); print('over'); sys.exit({code})"


def script(text: str) -> list[str]:
    return [sys.executable, "-S", "-c", text]


@pytest.mark.parametrize("code", [0, 1])
def test_it_is_told_that_the_run_is_over(tmp_path: Path, code: int) -> None:
    live = Live(script(UNTIL_CLOSED.format(code=code)), folder=tmp_path)
    assert live.end(seconds=60) is (code == 0)
    assert (tmp_path / "wandb" / LOG).read_text() == "over\n"


def test_one_that_does_not_end_is_ended(tmp_path: Path) -> None:
    live = Live(script("import time; time.sleep(600)"), folder=tmp_path)
    assert live.end(seconds=0) is False
    assert live._process.returncode == -9


def test_one_that_has_ended_is_no_error(tmp_path: Path) -> None:
    live = Live(script("raise SystemExit(3)"), folder=tmp_path)
    live._process.wait()
    assert live.end(seconds=0) is False


def test_a_folder_that_cannot_be_written_is_one_line_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "wandb").write_text("")
    with pytest.raises(UserError, match=r"xlharm-live\.log: cannot be written"):
        Live(script("pass"), folder=tmp_path)
