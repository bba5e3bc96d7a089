import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlharm.analysis.wording import Language, hostile, shown_source, without_credentials
from xlharm.visible import one_line

BIDI = [chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))]


@pytest.mark.slow
@given(st.text())
def test_no_text_escapes(text: str) -> None:
    shown = str(hostile(text)).replace('<span class="ctl">', "").replace("</span>", "")
    assert not set(shown) & set("<>\"'")
    assert not set(shown) & set(BIDI)
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in shown)


@given(st.text())
def test_no_control_reaches_a_terminal(text: str) -> None:
    assert not any(unicodedata.category(c) == "Cc" or c in BIDI for c in one_line(text))


@pytest.mark.parametrize("control", [*BIDI, "\x00", "\x1b", "\x9f", "\u2028", "\ufeff", "\U000e0041"])
def test_controls_are_shown(control: str) -> None:
    assert f'<span class="ctl">U+{ord(control):04X}</span>' in hostile(f"a{control}b")


def test_what_writing_needs_stays() -> None:
    for text in ("می\u200cخواهم", "ش\u200dف", "Ի՞նչ", "कृ\u200dष्ण", "a\nb"):
        assert hostile(text) == text


def test_long_text_is_cut_and_says_so() -> None:
    assert hostile("a" * 700, most=600).endswith("… 100 more characters</span>")


@pytest.mark.parametrize(
    ("code", "direction"),
    [("ur", "rtl"), ("ar", "rtl"), ("fa", "rtl"), ("he", "rtl"), ("en", "auto"), ("zh", "auto"), ("az-Arab", "rtl"),
     ("ur-Latn", "auto"), ("ar-EG", "rtl")],
)  # fmt: skip
def test_direction_follows_language_and_script(code: str, direction: str) -> None:
    assert Language(code).direction == direction


def test_languages_have_names() -> None:
    assert Language("jv").name == "Javanese"
    assert Language("zh-Hant").name == "Chinese (Hant)"
    assert Language("qqq").name == "qqq"


def test_reports_carry_no_paths_and_no_passwords() -> None:
    assert shown_source("/home/me/secret/base") == "base"
    assert shown_source("~/bases/tiny/") == "tiny"
    assert shown_source("org/model") == "org/model"
    assert without_credentials("io: s3://me:word@host/x failed") == "io: s3://host/x failed"
