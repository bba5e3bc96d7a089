"""Which stages share a pack: this depends only on the plan, the pack size and the declared number of workers."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

from xlharm.plan.build import Plan
from xlharm.plan.digest import Json, canonical, digest
from xlharm.plan.settings import UnlearnStage, training_of
from xlharm.plan.stage import MODELS, Kind, Place, Stage


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Stages of one shape that share one forward and backward pass.

    When some of its stages are finished already, a pack runs in its full shape with these slots empty, so that
    results do not depend on interruptions.

    Attributes:
        kind: kind of all its stages.
        keys: keys of its stages, one for each slot.
        place: where it runs.
    """

    kind: Kind
    keys: tuple[str, ...]
    place: Place = "device"

    @cached_property
    def id(self) -> str:
        """Name of the pack: a digest of its keys."""
        return digest(list(self.keys))[:16]


def auto_sizes(plan: Plan, *, workers: int, most: int) -> dict[Kind, int]:
    """Choose a pack size for each kind, so that no worker idles while packs wait for another one.

    With full packs, the stages of a kind take some number of rounds over all workers. The chosen size is the smallest
    that needs no more rounds: with 8 workers and at most 8 slots, 9 stages run in packs of 2, and 729 in packs of 8.

    Args:
        plan: the plan to run.
        workers: number of workers.
        most: slots of a full pack.

    Raises:
        ValueError: ``workers`` or ``most`` is below 1.
    """
    if workers < 1 or most < 1:
        raise ValueError("packs need at least one worker and one slot")
    counts = Counter(stage.kind for stage in plan.stages.values())
    rounds = {kind: -(-n // (workers * most)) for kind, n in counts.items()}
    return {kind: -(-n // (workers * rounds[kind])) for kind, n in counts.items()}


def packs(plan: Plan, *, size: int, workers: int | None = None) -> tuple[Pack, ...]:
    """Group a plan's stages by shape and depth, and split each group into packs.

    Args:
        plan: the plan to run.
        size: most stages in a pack.
        workers: number of workers for which ``auto_sizes`` chooses pack sizes; None fills every pack to ``size``.

    Raises:
        ValueError: ``size`` or ``workers`` is below 1.
    """
    if size < 1:
        raise ValueError("a pack has at least one slot")
    sizes = {} if workers is None else auto_sizes(plan, workers=workers, most=size)
    depth: dict[str, int] = {}
    groups: dict[tuple[str, int], list[str]] = {}
    for key, stage in plan.stages.items():
        depth[key] = 1 + max((depth[p] for p in stage.inputs), default=0)
        groups.setdefault((pack_shape(stage), depth[key]), []).append(key)
    chosen: list[Pack] = []
    for keys in groups.values():
        first = plan.stages[keys[0]]
        slots = sizes.get(first.kind, size)
        starts = range(0, len(keys), slots)
        chosen.extend(
            Pack(kind=first.kind, keys=tuple(keys[start : start + slots]), place=first.place) for start in starts
        )
    return tuple(chosen)


def pack_shape(stage: Stage) -> str:
    """Return the settings that stages of one pack must share, as text.

    One forward and backward pass serves all slots of a pack, so everything that decides tensor sizes and the number
    of steps must be equal; learning rates, seeds, data, objectives and retain terms may differ.
    """
    fields = ("dtype", "lora", "prompt", "query", "questions", "max_new_tokens", "probe", "holdout", "utility")
    common: dict[str, Json] = {"kind": stage.kind, "base": stage.base}
    if stage.kind not in MODELS:
        common |= {f: stage.spec[f] for f in fields if f in stage.spec}
        return canonical({**common, "data": stage.data, "judge": stage.spec.get("judge")})
    common |= {f: stage.spec[f] for f in ("dtype", "lora")}
    settings = training_of(stage)
    if settings is None:
        return canonical(common)
    training, method = settings.training, settings.training if isinstance(settings, UnlearnStage) else None
    sizes = {"steps": training.steps, "batch_size": training.batch_size}
    retain = method.retain_batch_size if method and method.retain != "none" else 0
    return canonical({**common, **sizes, "retain": retain, "paired": method is not None and method.paired})


def halves(pack: Pack) -> tuple[Pack, Pack]:
    """Split a pack, for example because it did not fit the device's memory.

    Raises:
        ValueError: a pack of one cannot be split.
    """
    if len(pack.keys) < 2:
        raise ValueError("a pack of one stage cannot be split")
    middle = (len(pack.keys) + 1) // 2
    return (replace(pack, keys=pack.keys[:middle]), replace(pack, keys=pack.keys[middle:]))
