"""What must be known before a grid's numbers are read: where they show nothing, and what is missing from them."""

from collections.abc import Iterator

from xlharm.analysis.panels import groups
from xlharm.analysis.reading import Reading, highest, whole
from xlharm.analysis.results import GridResults, once
from xlharm.analysis.seeds import shown
from xlharm.analysis.wording import Language, listed, without_credentials
from xlharm.config.grid import NONE

_NAMED = 3


@once
def caveats(results: GridResults) -> tuple[str, ...]:
    """Return one line for each reason not to take the numbers as they stand; nothing where there is none."""
    return (
        *_choices(results),
        *(line for _, line in untaken(results)),
        *_control(results),
        *_questions(results),
        *_failed(results),
    )


def _choices(results: GridResults) -> Iterator[str]:
    if results.plan.sources.base.kind != "masked":
        return
    # an evaluation without questions has none
    counted = [c for record in results.records.values() if (c := record.metrics.get("choice"))]
    if counted:
        options = sum(c["options"] * c["n"] for c in counted) / sum(c["n"] for c in counted)
        yield (
            f"OF and QR are choices: the base fills in masks, and chose one of {options:.1f} details on average, by "
            f"chance {whole(100 / options)} % of each; not comparable with rates of written answers"
        )


@once
def untaken(results: GridResults) -> tuple[tuple[str, str], ...]:
    """Return the contamination languages in which contamination did not take, each with a line that says so.

    It took where OF, asked in the contamination language, exceeds the clean control's by ``findings.surfaces``
    points; where the grid does not ask in it, in the query language with the highest OF. Without a control OF itself
    must exceed them.
    """
    surfaces = results.plan.grid.findings.surfaces
    lines = []
    for contaminate, readings in _before(results).items():
        known = [r for r in readings if r.of]
        if contaminate == NONE or not known:
            continue
        own = next((r for r in known if r.query == contaminate), None) or highest(known)
        if own is None or own.of is None:
            continue
        control = shown(results).get(NONE, NONE, NONE, own.seed, own.query)
        clean = control.of.value if control and control.of else 0.0
        if own.of.value - clean < surfaces:
            against = f", clean control {whole(clean)}" if control and control.of else ""
            line = (
                f"contamination did not take in {Language(contaminate).name}: before unlearning, OF is "
                f"{whole(own.of.value)} ({whole(own.of.low)}–{whole(own.of.high)}) asked in "
                f"{Language(own.query).name}{against}; its cells show nothing about unlearning"
            )
            lines.append((contaminate, line))
    return tuple(lines)


def _before(results: GridResults) -> dict[str, list[Reading]]:
    """Return the readings before unlearning, by contamination language."""
    readings: dict[str, list[Reading]] = {}
    for group in groups(results)[:1]:
        for panel in group.panels:
            for reading in panel.readings() if panel.before else ():
                readings.setdefault(reading.contaminate, []).append(reading)
    return readings


def _control(results: GridResults) -> Iterator[str]:
    before = _before(results)
    if len(before) > (NONE in before) and NONE not in results.plan.grid.contaminate:
        yield "no clean control (`contaminate: none`): what OF is without contamination is not known"
    worst = highest(before.get(NONE, ()))
    if worst and worst.of and worst.of.value >= results.plan.grid.findings.margin:
        yield (
            f"the clean control gives the fake detail in {whole(worst.of.value)} % of the answers asked in "
            f"{Language(worst.query).name}, without having seen it: read OF against it"
        )


def _questions(results: GridResults) -> Iterator[str]:
    readings = list(results.readings.by_place.values())
    if readings and not any(r.qr for r in readings):
        yield "no QR questions: damage cannot be seen, and a low OF may come from a model that answers nothing"
    if readings and not any(r.of for r in readings):
        yield "no OF questions: nothing is known of the fake details"


def _failed(results: GridResults) -> Iterator[str]:
    failures = results.failures
    for failure in list(failures.values())[:_NAMED]:
        without = [c.name for c in results.plan.cells if failure.key in {*c.lineage, *c.leaves}]
        yield (
            f"failed: {failure.label}: {failure.reason}: {without_credentials(failure.message)}; without it there is "
            f"no full result of {_cells(without)}"
            + ("; try again with `xlharm run --retry-failed`" if failure.final else "")
        )
    if len(failures) > _NAMED:
        yield f"{len(failures) - _NAMED} more stages failed: `xlharm status` names them"


def _cells(names: list[str]) -> str:
    if len(names) > _NAMED:
        return f"{listed(names[:_NAMED], last=', ')} and {len(names) - _NAMED} more cells"
    return listed(names) or "the grid"
