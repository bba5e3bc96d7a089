"""All views. A new one is a file of this folder that declares a ``View``, and a line here."""

import pyarrow as pa

from xlharm.analysis import (
    attribution,
    burden,
    distance,
    effects,
    findings,
    halflife,
    harms,
    leaks,
    likelihoods,
    probed,
    ranking,
    seeds,
    signatures,
    transfer,
    verdicts,
)
from xlharm.analysis.results import GridResults
from xlharm.analysis.view import View

VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        findings.VIEW, burden.VIEW, ranking.VIEW, effects.VIEW, transfer.VIEW, distance.VIEW, signatures.VIEW,
        probed.VIEW, halflife.VIEW, attribution.VIEW, leaks.VIEW, harms.VIEW, likelihoods.VIEW, verdicts.VIEW,
        seeds.VIEW,
    )
}  # fmt: skip
"""By name, in the order of the report's sections."""


def view(name: str, results: GridResults) -> pa.Table:
    """Return a view (a name in ``VIEWS``) as a table; percentages are 0–100."""
    return VIEWS[name].table(results)
