"""Who says whether an answer states a detail, beside matching, which always stands: one file a judge.

A file holds a judge's settings, its prompts, where it runs, and how it judges. Importing the room is light: what
computes or asks is imported when a worker starts a judge.
"""

from typing import Any

from xlharm.config.kinds import class_of, kinds_in
from xlharm.judges.base import Judge


def kinds() -> dict[str, type[Judge]]:
    """Return the judges there are, by the `kind` that names them in grids."""
    return dict(kinds_in(__name__, Judge, tag="kind"))


def kind_of(settings: dict[str, Any]) -> type[Judge]:
    """Return the class of a judge from what a stage carries of it.

    Raises:
        StageError: there is no such judge here.
    """
    return class_of(settings.get("kind"), kinds(), room="judges")
