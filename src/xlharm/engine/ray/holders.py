"""Who holds the resources of a cluster that a run waits for."""

from collections import Counter
from typing import Any, Literal

_SECONDS = 2  # for the cluster's answer
_NAMED = 4  # holders that are named


def holders(resource: Literal["CPU", "GPU"], *, job: str, total: float) -> str:
    """Say in words how many are free, and which actors of other jobs hold the others, as far as the cluster says it.

    Args:
        resource: what is waited for.
        job: id of this process's job.
        total: how many the cluster has.
    """
    import ray

    try:
        free = ray.available_resources().get(resource, 0.0)
    except Exception:  # noqa: BLE001 - whatever Ray raises, the run waits on; this is only told
        return ""
    named = [f"{held:g} by {who}" for who, held in _actors(resource, job=job).most_common(_NAMED)]
    words = [f"{free:g} of {total:g} are free"]
    if named:
        words.append(f"held: {', '.join(named)}")
    return "; ".join(words)


def _actors(resource: str, *, job: str) -> Counter[str]:
    """Return what actors of other jobs hold, by who they are; empty without the cluster's dashboard, which knows it."""
    held: Counter[str] = Counter()
    try:
        from ray.util.state import list_actors

        found: list[Any] = list_actors(
            filters=[("state", "=", "ALIVE")], detail=True, limit=1000, timeout=_SECONDS, raise_on_missing_output=False
        )
        for actor in found:
            share = (actor.required_resources or {}).get(resource, 0)
            if share and actor.job_id != job:
                who = "a worker of another xlharm run" if actor.class_name == "Worker" else f"actor {actor.class_name}"
                held[f"{who} (job {actor.job_id}, process {actor.pid})"] += share
    except Exception:  # noqa: BLE001 - no dashboard, another version, a busy head: nothing is told
        return Counter()
    return held
