"""Controls in hostile text are written out."""

from xlharm.visible import one_line, visible


def test_controls_are_written_out() -> None:
    assert visible("\x1b]0;x\x07 \u202e\udce9\r\n\t") == "<U+001B>]0;x<U+0007> <U+202E><U+DCE9><U+000D>\n\t"
    assert visible("می\u200cخواهم") == "می\u200cخواهم"


def test_one_line() -> None:
    assert one_line(" a\n b\t") == "a b"
    assert one_line("abcdef", most=3) == "abc …"
