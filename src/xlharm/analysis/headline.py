"""One plain sentence that says what a grid's numbers are, and no more than they say."""

from xlharm.analysis.caveats import untaken
from xlharm.analysis.panels import Panel, PanelGroup, groups
from xlharm.analysis.reading import Reading, Readings, highest, whole
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.seeds import shown
from xlharm.analysis.wording import Language, listed
from xlharm.config.grid import NONE

ENGLISH = "en"


@once
def headline(results: GridResults) -> str:
    """Sum up a grid: before unlearning, then each set's worst case, with what speaks against reading it as success.

    Seeds are taken together. Languages in which contamination did not take are named and left out of what follows.
    """
    together, readings = groups(results), shown(results)
    out = {contaminate for contaminate, _ in untaken(results)}
    before = [p for g in together for p in g.panels if p.before]
    parts = [_untaken(results), _before(before, out) if before else ""]
    after = [_after(p, readings, together=together, out=out) for g in together for p in g.panels if not p.before]
    parts = [part for part in (*parts, *_shortest(after)) if part]
    if not parts:
        return "No cell has been evaluated yet."
    seeds = len(results.plan.grid.seeds)
    text = "; ".join([*parts, *([f"rates over {seeds} seeds"] if seeds > 1 else [])]) + "."
    return text[0].upper() + text[1:]


def _untaken(results: GridResults) -> str:
    lines = [line for _, line in untaken(results)]
    if len(lines) < 2:
        return "".join(lines)
    return f"contamination did not take in {listed([Language(c).name for c, _ in untaken(results)])}"


def panel_line(panel: Panel, readings: Readings) -> str:
    """Say a panel's highest OF, and how many readings speak against taking low OF for success."""
    readings_shown = [r for r in panel.readings() if r.contaminate != NONE] or list(panel.readings())
    worst = highest(readings_shown)
    if worst is None or worst.of is None:
        return "not evaluated yet"
    line = f"highest OF {whole(worst.of.value)} ({_where(worst)})"
    flagged = sum(bool(readings.warnings(r)) for r in readings_shown)
    if flagged:
        line += f" · damaged in {flagged} of {len(readings_shown)} readings"
    rises = sum(readings.rise(r) == "clear" for r in readings_shown)
    if rises:
        line += f" · OF rose in {rises}"
    return line


def _before(panels: list[Panel], out: set[str]) -> str:
    before = {(r.contaminate, r.seed, r.query): r for p in panels for r in p.readings()}.values()
    fakes = [r for r in before if r.contaminate not in {NONE, *out} and r.of]
    if not fakes:
        return ""
    own = [r for r in fakes if r.query == r.contaminate]
    english = [r for r in fakes if r.query == ENGLISH != r.contaminate]
    others = [r for r in fakes if r.query not in (ENGLISH, r.contaminate)]
    parts = [
        f"{_span(some)}\u00a0% of the answers {words}"
        for some, words in (
            (own, "in the contaminating language"),
            (english, "in English"),
            (others, "in the other languages"),
        )
        if some
    ]
    clean = highest(r for r in before if r.contaminate == NONE)
    control = f" (clean control at most {whole(clean.of.value)}\u00a0%)" if clean and clean.of else ""
    return f"Before unlearning, the fake detail is in {_list(parts)}{control}"


def _after(
    panel: Panel, readings: Readings, *, together: tuple[PanelGroup, ...], out: set[str]
) -> tuple[bool, float, str] | None:
    measured = [r for r in panel.readings() if r.contaminate not in {NONE, *out} and r.of]
    worst = highest(measured)
    if worst is None or worst.of is None:
        return None
    name = f"{panel.words} (with {panel.method})" if len({g.method for g in together}) > 1 else panel.words
    text = f"after unlearning {name}, in up to {whole(worst.of.value)}\u00a0% ({_where(worst)})"
    flagged = sum(bool(readings.warnings(r)) for r in measured)
    if flagged:
        text += f", but with damage in {flagged} of {len(measured)} readings"
    rows = (row for row in panel.rows if row.cell and row.contaminate not in {NONE, *out})
    unread = sum(len(row.spots) for row in rows) - len(measured)
    if unread:
        text += f" (as far as evaluated: {unread} readings are missing)"
    return bool(flagged), worst.of.value, text


def _shortest(after: list[tuple[bool, float, str] | None]) -> list[str]:
    """Keep the sentence readable: of many sets only the lowest (undamaged, if any) and the highest worst case."""
    sets = [part for part in after if part]
    if len(sets) <= 4:
        return [text for _, _, text in sets]
    low, high = min(sets, key=lambda t: t[:2]), max(sets, key=lambda t: t[1])
    damaged = sum(t[0] for t in sets)
    words = "the lowest without damage" if damaged and not low[0] else "the lowest"
    count = f"of {len(sets)} ways to unlearn" + (f" ({damaged} with damage)" if damaged else "")
    return [f"{count}, {words}: {low[2]}", f"the highest: {high[2]}"]


def _span(readings: list[Reading]) -> str:
    values = sorted(r.of.value for r in readings if r.of)
    low, high = whole(values[0]), whole(values[-1])
    return low if low == high else f"{low}–{high}"


def _list(parts: list[str]) -> str:
    """Join with commas; `% of the answers` is said once."""
    first, *rest = parts
    return listed([first, *(part.replace(" of the answers", "") for part in rest)])


def _where(reading: Reading) -> str:
    asked = Language(reading.query).name
    if reading.contaminate == NONE:
        return f"clean control asked in {asked}"
    return f"{Language(reading.contaminate).name} fakes asked in {asked}"
