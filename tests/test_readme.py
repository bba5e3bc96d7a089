"""What the README, its figure and the decisions say of the quickstart follows from its stored table.

docs/data/quickstart.csv is `xlharm results grid/quickstart.yaml --format csv` and docs/data/quickstart-findings.csv the
same with `--view findings`. After a change of the numbers write both anew, copy to docs/img/quickstart.svg
`figures/overview.svg` of `xlharm report grid/quickstart.yaml --paper DIR`, and run this file with XLHARM_GOLDEN=write.
"""

import csv
import os
import re
import textwrap
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from xlharm.analysis.claims import ALL, VERDICTS
from xlharm.analysis.reading import whole

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "What it shows, with 95 % intervals over items in brackets:\n\n", "This base of 4 million"
SVG = "{http://www.w3.org/2000/svg}"


def rows(name: str) -> list[dict[str, str]]:
    with (ROOT / "docs" / "data" / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


CELLS = {(row["cell"], row["query"]): row for row in rows("quickstart.csv")}


def rate(cell: str, query: str) -> str:
    row = CELLS[cell, query]
    of, low, high = (whole(float(row[name])) for name in ("of", "of_lo", "of_hi"))
    return f"{of} ({low}–{high})"


def block() -> str:
    """Write what the README says of the quickstart."""
    lines = [
        "| OF of fakes given in … and asked in the same language | German | Urdu |",
        "|---|---|---|",
    ]
    for words, cell in (
        ("before unlearning", "{0}/none/none/0"),
        ("after unlearning English", "{0}/en/npo/0"),
        ("after unlearning English and that language", "{0}/en+{0}/npo/0"),
        ("the model that never saw a fake article, before unlearning", "none/none/none/0"),
    ):
        lines.append("| " + " | ".join([words, *(rate(cell.format(c), c) for c in ("de", "ur"))]) + " |")
    overall = [row for row in rows("quickstart-findings.csv") if row["contaminate"] == ALL]
    words = " ".join(_sentence(overall, verdict) for verdict in VERDICTS)
    text = f"Of {len(overall)} [claims of the study](docs/findings.md): {words}"
    return "\n".join([*lines, "", *textwrap.wrap(text, width=98, break_on_hyphens=False)]) + "\n\n"


def _sentence(overall: list[dict[str, str]], verdict: str) -> str:
    """Say which claims have a verdict; those on several sets alike, and those without one, only by their number."""
    some = [row for row in overall if row["verdict"] == verdict]
    if verdict == "cannot be decided":
        named = next(row for row in overall if row["finding"] == "clears-all")
        among = f", also: {named['claim']}" if named in some else ""
        return f"{len(some)} cannot be decided with {named['items']} items and one seed{among}."
    alike = {
        "utility": "unlearning keeps QR in every language",
        "reinforcement": "unlearning raises the fake elsewhere",
    }
    claims = [row["claim"] for row in some if row["finding"] not in alike]
    for finding, claim in alike.items():
        count = sum(row["finding"] == finding for row in some)
        if count:
            claims.append(f"{claim} ({count} of {sum(r['finding'] == finding for r in overall)} sets)")
    return f"{len(some)} {'hold' if verdict == 'holds' else 'do not hold'}: {'; '.join(claims)}."


def test_the_readme_says_what_the_table_holds() -> None:
    text = README.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    said, _, tail = rest.partition(END)
    if os.environ.get("XLHARM_GOLDEN") == "write":
        README.write_text(head + BEGIN + block() + END + tail, encoding="utf-8")
        said = block()
    assert said == block()
    numbers = re.findall(r"\b\d+ \(\S+–\S+\)", head + tail)
    assert numbers == [], "rates with intervals stand in that part, where they are checked"


def test_the_figure_draws_the_table() -> None:
    root = ET.fromstring((ROOT / "docs/img/quickstart.svg").read_text(encoding="utf-8"))  # noqa: S314 - our own output
    drawn = [e.text for e in root.iter(f"{SVG}text") if e.get("class") == "number"]
    limits = [e.text for e in root.iter(f"{SVG}text") if e.get("class") == "interval"]
    panels = [
        ("none/none/none/0", "de/none/none/0", "ur/none/none/0"),
        ("de/en/npo/0", "ur/en/npo/0"),
        ("de/de/npo/0", "ur/ur/npo/0"),
        ("de/en+de/npo/0", "ur/en+ur/npo/0"),
    ]
    queries = list(dict.fromkeys(query for _, query in CELLS))
    expected = [
        (CELLS[cell, query], measure)
        for panel in panels
        for cell in panel
        for measure in ("of", "qr")
        for query in queries
    ]
    assert drawn == [whole(float(row[m])) for row, m in expected]
    assert limits == [f"{whole(float(row[f'{m}_lo']))}–{whole(float(row[f'{m}_hi']))}" for row, m in expected]


def test_the_decision_on_the_settings_says_what_the_table_holds() -> None:
    text = (ROOT / "docs/decisions/0005-settings-of-the-quickstart.md").read_text(encoding="utf-8")
    said = {
        "clean control: at most {}": max(float(r["of"]) for (c, _), r in CELLS.items() if c == "none/none/none/0"),
        "fake in German: German {},": CELLS["de/none/none/0", "de"]["of"],
        "fake in Urdu: Urdu {},": CELLS["ur/none/none/0", "ur"]["of"],
        "unlearning English leaves German {} ": CELLS["de/en/npo/0", "de"]["of"],
        "English + source leaves German {} ": CELLS["de/en+de/npo/0", "de"]["of"],
    }
    assert [line for line, value in said.items() if line.format(whole(float(value))) not in text] == []


@pytest.mark.heavy
def test_the_quickstart_still_has_these_numbers(tmp_path: Path) -> None:
    """Some ten minutes on two cores; another machine's rounding may change an answer or two of 100."""
    import xlharm

    grid = xlharm.open(ROOT / "grid/quickstart.yaml", store=tmp_path / "store", overrides=["dtype=float32"])
    assert grid.run(executor="in-process").exit_code == 0
    rates = {(row.cell, row.query): row.of for row in grid.results().itertuples()}
    assert rates.keys() == CELLS.keys()
    assert max(abs(rates[place] - float(row["of"])) for place, row in CELLS.items()) <= 3
