"""Who holds the resources of a cluster that a run waits for, and what nobody needs any more."""

from collections import Counter
from typing import Any, Literal

from xlharm.engine.ray.cluster import require_same_head
from xlharm.engine.ray.gang import GROUP_PREFIX

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
        require_same_head()
        free = ray.available_resources().get(resource, 0.0)
    except Exception:  # noqa: BLE001 - whatever Ray raises, the run waits on; this is only told
        return ""
    named = [f"{held:g} by {who}" for who, held in _actors(resource, job=job).most_common(_NAMED)]
    words = [f"{free:g} of {total:g} are free"]
    if named:
        words.append(f"held: {', '.join(named)}")
    return "; ".join(words)


def remove_abandoned() -> int:
    """Remove our placement groups whose driver has ended; return how many there were.

    Ray removes the groups of a job that has ended. But when the job and a node with one of its bundles end together,
    Ray places the group anew after that: its resources are then held by nobody, for ever. Groups of drivers that
    Ray counts as alive stay, and so do those of other programs.
    """
    import ray
    from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

    require_same_head()
    ended = _ended_jobs()
    abandoned = [
        PlacementGroup(ray.PlacementGroupID.from_hex(number))
        for number, group in (placement_group_table().items() if ended else ())
        if group["state"] != "REMOVED"
        and group["name"].startswith(GROUP_PREFIX)
        and number.endswith(ended)  # a group's id ends with that of its job
    ]
    for group in abandoned:
        remove_placement_group(group)
    return len(abandoned)


def _ended_jobs() -> tuple[str, ...]:
    """Return the ids of the cluster's jobs that have ended; empty when Ray does not say it."""
    try:
        from ray._private.state import state

        return tuple(job["JobID"] for job in state.job_table() if job["IsDead"])
    except (ImportError, AttributeError, KeyError):  # private parts of Ray: they may move or vanish
        return ()


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
