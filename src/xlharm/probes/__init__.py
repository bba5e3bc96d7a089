"""What is left of the fake detail after unlearning, under attack or in another form of the question: one file a probe.

A file holds a probe's settings, the stages it plans, and what it changes when a pack of models answers. Importing the
room is light: torch is imported when a pack answers.
"""

from collections.abc import Mapping
from typing import Any

from xlharm.config.kinds import kinds_in, validated
from xlharm.probes.base import AnswerProbe, Probe


def kinds() -> dict[str, type[Probe]]:
    """Return the probes there are, by the `kind` that names them in grids."""
    return dict(kinds_in(__name__, Probe, tag="kind"))


def stored(settings: Mapping[str, Any]) -> AnswerProbe:
    """Return the probe whose settings an evaluate stage carries.

    Raises:
        StageError: there is no such probe here, or it has other settings.
    """
    asked = {name: kind for name, kind in kinds().items() if issubclass(kind, AnswerProbe)}
    return validated(settings, asked, tag="kind", room="probes")
