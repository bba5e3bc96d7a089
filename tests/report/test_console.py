import io

import pytest
from rich.table import Table

from xlharm.report.console import Terminal

HOSTILE = "\x1b]0;owned\x07\x1b[31m[/b][bold] :smile: \u202e"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_texts_act_on_no_terminal(is_terminal: bool) -> None:
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE, no_wrap=True)
    table.add_row(HOSTILE)
    out = io.StringIO()
    console = Terminal(file=out, width=200, force_terminal=is_terminal, color_system=None)
    console.print(HOSTILE, soft_wrap=True)
    console.print(table)
    text = out.getvalue()
    assert not set("\x07\u202e☺😄") & set(text)
    assert "\x1b]" not in text
    assert "\x1b[31m" not in text
    assert "<U+001B>[31m[/b][bold] :smile:" in text
