"""What docs/study.md says is in docs/study.csv."""

import csv
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
SETS = {
    "before": "none", "English": "en", "high-resource": "de+fr+zh+ru", "low-resource": "jv+ur+ha+hy",
    "all nine": "en+de+fr+zh+ru+jv+ur+ha+hy",
}  # fmt: skip
CODES = {"German": "de", "Urdu": "ur", "Chinese": "zh", "Hausa": "ha"}
Numbers = dict[str, str]


def said(row: Numbers, measure: str) -> str:
    value, low, high = (round(float(row[name])) for name in (measure, f"{measure}_lo", f"{measure}_hi"))
    return f"{value} ({low}–{high})"


@pytest.fixture(scope="module")
def stored() -> dict[tuple[str, str, str, str], Numbers]:
    with (DOCS / "study.csv").open(encoding="utf-8", newline="") as lines:
        return {(r["contaminate"], r["unlearn"], r["method"], r["query"]): r for r in csv.DictReader(lines)}


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "study.md").read_text(encoding="utf-8")


def set_of(name: str, language: str) -> str:
    if name in SETS:
        return SETS[name]
    return language if name in CODES else f"en+{language}"


def test_every_number_of_the_tables_is_stored(page: str, stored: dict[tuple[str, str, str, str], Numbers]) -> None:
    rows, language = 0, ""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| unlearned in"):
            language = CODES[cells[3].removeprefix("OF in ")]
        elif line.startswith("## The study's findings"):
            language = ""  # verdicts follow, no numbers
        elif language and line.startswith("|") and not line.startswith("|---"):
            name, method, *numbers = cells
            place = (language, set_of(name, language), method or "none")
            expected = [said(stored[*place, query], "of") for query in ("en", language, "fr")]
            assert numbers == [*expected, said(stored[*place, "en"], "qr")], line
            rows += 1
    assert rows == 4 * (1 + 6 * 3)


def test_every_interval_of_the_prose_is_stored(page: str, stored: dict[tuple[str, str, str, str], Numbers]) -> None:
    prose = "\n".join(line for line in page.splitlines() if not line.startswith("|"))
    known = {said(row, measure) for row in stored.values() for measure in ("of", "qr")}
    intervals = set(re.findall(r"\d+ \(\d+–\d+\)", prose))
    assert len(intervals) > 15
    assert intervals - known == set()
