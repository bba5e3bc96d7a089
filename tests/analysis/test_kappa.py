"""Kappa against published examples, sheets against spreadsheets."""

from pathlib import Path

import pytest

from xlharm.analysis.kappa import (
    SheetRow,
    cohen_kappa,
    cohen_of,
    fleiss_kappa,
    read_sheet,
    with_interval,
    write_sheet,
)
from xlharm.errors import UserError

# Wikipedia's grant example: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: kappa = (0.7 - 0.5) / 0.5 = 0.4
ONE = [True] * 25 + [False] * 25
OTHER = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15


def test_cohen_of_the_textbook() -> None:
    assert cohen_kappa(ONE, OTHER) == pytest.approx(0.4)
    assert cohen_kappa(ONE, ONE) == 1
    assert cohen_kappa([True, True], [True, True]) is None
    assert cohen_kappa([], []) is None


def test_fleiss_by_hand() -> None:
    # four items, three raters: yes counts 3, 0, 2, 1. P_i = 1, 1, 1/3, 1/3: P = 2/3; p_yes = 1/2: P_e = 1/2
    ratings = [[True] * 3, [False] * 3, [True, True, False], [False, True, False]]
    assert fleiss_kappa(ratings) == pytest.approx((2 / 3 - 1 / 2) / (1 / 2))
    assert fleiss_kappa([[True, True]] * 3) is None


def test_the_interval_holds_the_estimate_and_narrows_with_items() -> None:
    few = with_interval(cohen_of, [list(p) for p in zip(ONE, OTHER, strict=True)])
    many = with_interval(cohen_of, [list(p) for p in zip(ONE * 8, OTHER * 8, strict=True)])
    assert few
    assert many
    # the large-sample standard error of this table is 0.127 (Fleiss, Cohen & Everitt 1969)
    assert few.low == pytest.approx(0.4 - 1.96 * 0.127, abs=0.04)
    assert few.high == pytest.approx(0.4 + 1.96 * 0.127, abs=0.04)
    assert many.high - many.low < (few.high - few.low) / 2


def test_the_same_items_in_many_models_do_not_narrow_the_interval() -> None:
    once = [list(p) for p in zip(ONE, OTHER, strict=True)]
    names = [str(i) for i in range(len(once))]
    few, again = with_interval(cohen_of, once), with_interval(cohen_of, once * 8, items=names * 8)
    assert few
    assert again
    assert again.low == pytest.approx(few.low, abs=0.02)
    assert again.high == pytest.approx(few.high, abs=0.02)


def test_raters_who_always_agree_might_not_on_other_items() -> None:
    """50 items: Wilson's interval of 0 of 50 ends at 7.1 %, so 4 might differ: 1 - 0.08 / 0.5 = 0.84."""
    kappa = with_interval(cohen_of, [[x, x] for x in ONE])
    assert kappa is not None
    assert (kappa.estimate, kappa.high) == (1, 1)
    assert kappa.low == pytest.approx(0.84)
    more = with_interval(cohen_of, [[x, x] for x in ONE * 10])
    assert more is not None
    assert more.low > 0.98


def test_a_sheet_comes_back_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    write_sheet(
        [SheetRow("a", "ur", "of", "سوال؟", "=HYPERLINK(1)", "نیلا"), SheetRow("b", "en", "qr", "q", "x", "y")], path
    )
    text = path.read_text("utf-8-sig")
    assert "'=HYPERLINK(1)" in text
    assert "سوال؟" in text
    lines = text.splitlines()
    path.write_text("\n".join([lines[0], lines[1] + "Yes", lines[2]]), "utf-8")
    assert read_sheet(path) == {"a": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,human\na,perhaps\n", r":2: human: expected yes or no, found 'perhaps'"),
        ("id,verdict\na,yes\n", "expected a column 'human', found id, verdict"),
        ("", "no rows"),
    ],
)
def test_a_wrong_sheet_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_sheet(tmp_path / "s.csv")
