"""Who says whether an answer states a detail, beside matching, which always stands: one file a judge.

A file holds a judge's settings, its prompts, where it runs, and how it judges. Importing the room is light: what
computes or asks is imported when a worker starts a judge.
"""

from collections.abc import Mapping
from typing import Any

from xlharm.config.kinds import Kinds
from xlharm.errors import StageError
from xlharm.judges.base import Judge

JUDGES: Kinds[Judge] = Kinds(base=Judge, tag="kind", room=__name__, word="judge")  # type: ignore[type-abstract] # not instantiated


def kind_of(identity: Mapping[str, Any]) -> type[Judge]:
    """Return the class of a judge from what a stage carries of it, which lacks how it is reached.

    Raises:
        StageError: there is no such judge here.
    """
    judges = JUDGES.all()
    kind = identity.get(JUDGES.tag)
    if kind not in judges:
        raise StageError(f"there is no judge {kind!r} here (there are {', '.join(judges)})")
    return judges[kind]
