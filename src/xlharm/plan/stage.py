"""Stages: nodes of the tree, named by the hash of what determines their result."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from xlharm.plan.digest import Json, canonical, digest

Kind = Literal["contaminate", "sft", "unlearn", "evaluate"]
KINDS: tuple[Kind, ...] = ("contaminate", "sft", "unlearn", "evaluate")

# Raise a kind's version when its numbers change for the same spec: it invalidates stored results.
STAGE_VERSIONS: dict[Kind, int] = {"contaminate": 1, "sft": 1, "unlearn": 1, "evaluate": 1}


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

    @cached_property
    def shape(self) -> str:
        """What stages must have in common to share a pack.

        One forward and backward serves all slots of a pack, so everything that fixes tensor sizes and the
        number of steps must agree; rates, seeds, data and objectives may differ.
        """
        lora = self.spec["lora"]
        common: dict[str, Json] = {
            "kind": self.kind,
            "base": self.base,
            "dtype": self.spec["dtype"],
            "lora": lora,
        }
        if self.kind == "evaluate":
            asked = {f: self.spec[f] for f in ("query", "questions", "prompt", "max_new_tokens")}
            return canonical({**common, **asked, "data": self.data})
        training = self.spec["training"]
        fields = ("steps", "batch_size", "sequence_length", "retain_batch_size", "retain")
        return canonical({**common, **{f: training[f] for f in fields if f in training}})
