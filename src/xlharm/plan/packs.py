"""Which stages train or answer together: decided from the plan, the pack size and declared workers alone."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

from xlharm.plan.build import Plan
from xlharm.plan.digest import Json, canonical, digest
from xlharm.plan.settings import UnlearnStage, training_of
from xlharm.plan.stage import MODELS, Kind, Place, Stage


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Stages of one shape that share one forward and backward.

    A pack that is partly done already runs again in its full shape with the finished slots empty, so
    what a stage computes does not depend on interruptions.
    """

    kind: Kind
    keys: tuple[str, ...]
    place: Place = "device"

    @cached_property
    def id(self) -> str:
        """Name of the pack: a digest of its members."""
        return digest(list(self.keys))[:16]


def auto_sizes(plan: Plan, *, workers: int, most: int) -> dict[Kind, int]:
    """Choose a pack size for each kind, so that few stages do not queue on one worker while others idle.

    A kind takes the rounds over all workers that full packs would take, in the smallest packs that need no
    more rounds: 9 stages on 8 workers go in packs of 2, 729 stages on 8 workers in packs of 8.

    Args:
        plan: what will run.
        workers: that packs run on.
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
    """Group a plan's stages by shape and depth, then cut to ``size``.

    Args:
        plan: what will run.
        size: most stages of a pack.
        workers: that the packs are cut for, by ``auto_sizes``; None cuts full packs.

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
        groups.setdefault((shape_of(stage), depth[key]), []).append(key)
    found: list[Pack] = []
    for keys in groups.values():
        first = plan.stages[keys[0]]
        slots = sizes.get(first.kind, size)
        starts = range(0, len(keys), slots)
        found.extend(
            Pack(kind=first.kind, keys=tuple(keys[start : start + slots]), place=first.place) for start in starts
        )
    return tuple(found)


def shape_of(stage: Stage) -> str:
    """Return what stages must have in common to share a pack.

    One forward and backward serves all slots of a pack, so everything that fixes tensor sizes and the
    number of steps must agree; rates, seeds, data, objectives and retain terms may differ.
    """
    fields = ("dtype", "lora", "prompt", "query", "questions", "max_new_tokens", "probe")
    common: dict[str, Json] = {"kind": stage.kind, "base": stage.base}
    if stage.kind not in MODELS:
        common |= {f: stage.spec[f] for f in fields if f in stage.spec}
        return canonical({**common, "data": stage.data, "judge": stage.spec.get("judge")})
    common |= {f: stage.spec[f] for f in ("dtype", "lora")}
    settings = training_of(stage)
    if settings is None:
        return canonical(common)
    training, method = settings.training, settings.training if isinstance(settings, UnlearnStage) else None
    sizes = {"steps": training.steps, "batch_size": training.batch_size, "sequence_length": training.sequence_length}
    retain = method.retain_batch_size if method and method.retain != "none" else 0
    return canonical({**common, **sizes, "retain": retain, "paired": method is not None and method.rows == "paired"})


def halves(pack: Pack) -> tuple[Pack, Pack]:
    """Split a pack that did not fit the device's memory.

    Raises:
        ValueError: a pack of one cannot be split.
    """
    if len(pack.keys) < 2:
        raise ValueError("a pack of one stage cannot be split")
    middle = (len(pack.keys) + 1) // 2
    return (replace(pack, keys=pack.keys[:middle]), replace(pack, keys=pack.keys[middle:]))
