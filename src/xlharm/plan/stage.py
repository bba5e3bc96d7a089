"""Stages: nodes of the tree, named by the hash of what determines their result."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from xlharm.judges import kind_of
from xlharm.plan.digest import Json, digest

Kind = Literal["contaminate", "sft", "finetune", "unlearn", "edit", "relearn", "evaluate", "score", "judge"]
KINDS: tuple[Kind, ...] = (
    "contaminate",
    "sft",
    "finetune",  # on forget or retain rows, for the training-free methods
    "unlearn",
    "edit",  # adapter arithmetic: task vector, subspace projection
    "relearn",  # a probe: training on a few forget samples again
    "evaluate",  # greedy answers
    "score",  # likelihoods of given answers and articles
    "judge",  # verdicts on the answers of an evaluation
)
"""All kinds, parents before children."""
Place = Literal["device", "endpoint"]
"""Where stages run: on workers that hold the base, or on one that only asks an endpoint and needs no device."""
PLACES: tuple[Place, ...] = ("device", "endpoint")
MODELS: tuple[Kind, ...] = ("contaminate", "sft", "finetune", "unlearn", "edit", "relearn")
"""Kinds whose result is an adapter."""
TRAINED: tuple[Kind, ...] = ("contaminate", "sft", "finetune", "unlearn", "relearn")
"""Kinds that train: all with an adapter but the arithmetic on adapters."""

# Raise a kind's version when its numbers change for the same spec: it invalidates stored results.
STAGE_VERSIONS: dict[Kind, int] = {
    **dict.fromkeys(KINDS, 1), "contaminate": 2, "edit": 2, "evaluate": 3, "judge": 2, "score": 2,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One node of a plan.

    Attributes:
        kind: what it does.
        spec: plain JSON values, resolved (no `source`, no `auto`): all that determines the result
            beside the inputs.
        inputs: keys of the stages it starts from (the parent adapter), in order.
        data: corpus digest per language that it reads.
        base: digest of the base model.
        label: for people; not part of the key.
    """

    kind: Kind
    spec: dict[str, Any]
    inputs: tuple[str, ...]
    data: dict[str, str]
    base: str
    label: str

    def identity(self) -> dict[str, Json]:
        """Return what the key is the hash of."""
        return {
            "kind": self.kind,
            "version": STAGE_VERSIONS[self.kind],
            "spec": self.spec,
            "inputs": list(self.inputs),
            "data": self.data,
            "base": self.base,
        }

    @cached_property
    def key(self) -> str:
        """Full SHA-256 of the identity; the store's folder is its first 16 digits."""
        return digest(self.identity())

    @property
    def place(self) -> Place:
        """Where it runs.

        Raises:
            StageError: it is of a judge that is not known here.
        """
        return kind_of(self.spec["judge"]).place if self.kind == "judge" else "device"
