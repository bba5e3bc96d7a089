"""Stages: the nodes of a plan's tree. A stage's key is a hash of everything that determines its result."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from xlharm.judges import kind_of
from xlharm.plan.digest import Json, digest

Kind = Literal[
    "contaminate", "sft", "finetune", "unlearn", "edit", "relearn", "continue", "evaluate", "inspect", "score", "judge"
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "contaminate",
    "sft",
    "finetune",  # on forget or retain rows, for the training-free methods
    "unlearn",
    "edit",  # adapter arithmetic: task vector, subspace projection
    "relearn",  # a probe: training again on a few items of the forget set
    "continue",  # a probe: clean training after unlearning
    "evaluate",  # greedy answers
    "inspect",  # a probe: parts of the adapter zeroed, hidden states replaced or compared
    "score",  # likelihoods of given answers and articles
    "judge",  # verdicts on the answers of an evaluation
)
"""All kinds, parents before children."""
Place = Literal["device", "endpoint"]
"""Where stages run: on workers that load the base, or on a worker without device that sends requests to endpoints."""
PLACES: tuple[Place, ...] = ("device", "endpoint")
MODELS: tuple[Kind, ...] = ("contaminate", "sft", "finetune", "unlearn", "edit", "relearn", "continue")
"""Kinds whose result is an adapter."""
TRAINED: tuple[Kind, ...] = ("contaminate", "sft", "finetune", "unlearn", "relearn", "continue")
"""Kinds that train an adapter; `edit` only computes with finished adapters."""

# Raise a kind's version when its numbers change for the same spec: it invalidates stored results.
STAGE_VERSIONS: dict[Kind, int] = {
    "contaminate": 3, "sft": 2, "finetune": 2, "unlearn": 2, "edit": 2, "relearn": 2, "continue": 1,
    "evaluate": 5, "inspect": 1, "score": 4, "judge": 2,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One node of a plan.

    Attributes:
        kind: what it computes.
        spec: all settings that determine the result, as JSON values without `source` and `auto`.
        inputs: keys of the stages whose results it reads, in order; the first is the parent.
        data: digests of the corpus files that it reads, by language.
        base: digest of the base model.
        label: a name for people; not part of the key.
    """

    kind: Kind
    spec: dict[str, Any]
    inputs: tuple[str, ...]
    data: dict[str, str]
    base: str
    label: str

    def identity(self) -> dict[str, Json]:
        """Return the values that the key is the hash of."""
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
        """SHA-256 (hex) of the identity; its first 16 digits name the stage's folder in the store."""
        return digest(self.identity())

    @property
    def place(self) -> Place:
        """Where it runs.

        Raises:
            StageError: it is the stage of an unknown kind of judge.
        """
        return kind_of(self.spec["judge"]).place if self.kind == "judge" else "device"
