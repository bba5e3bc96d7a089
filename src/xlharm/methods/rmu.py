"""Representation misdirection."""

from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

from xlharm.config.training import Above0, AtLeast0, NonNegative
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs, Need

if TYPE_CHECKING:
    from torch import Tensor, device


class Rmu(LossMethod):
    """Representation misdirection (RMU; 2403.03218, for Zephyr-7B: layer 7 of 32, c 6.5, α 1200).

    Attributes:
        layer: decoder layer after which hidden states are read; None is 7/32 of the depth.
        coefficient: length c of the target vector c·u.
        positions: whose hidden states are read: ``targets``, those that predict the target tokens (of a question-answer
            pair, the answer's); or ``all``, those of the question and the prompt, too, as in the paper's code, which
            reads every position of a text. Articles consist of targets. With ``all``, the NLL that is recorded of
            forget rows, and that a stop rule reads, is over all tokens, too.
    """

    added: ClassVar[frozenset[str]] = frozenset({"positions"})
    needs: ClassVar[frozenset[Need]] = frozenset({"hidden"})

    objective: Literal["rmu"]
    layer: NonNegative | None = None
    coefficient: Above0 = 6.5
    retain: Literal["none", "nll", "kl", "hidden", "lingtea"] = "hidden"
    retain_weight: AtLeast0 = 1200.0
    positions: Literal["targets", "all"] = "targets"

    @property
    def whole_rows(self) -> bool:
        """Whether all positions of a row are read."""
        return self.positions == "all"

    def loss(self, x: LossInputs) -> "Tensor":
        """E‖h − c·u‖²: moves the forget rows' hidden states to c·u, with u a fixed random unit vector."""
        u = direction(x.hidden.shape[-1], seed=x.seed, device=x.hidden.device)
        return (x.hidden - self.coefficient * u).square().sum(-1).mean()

    def hidden_layer(self, depth: int) -> int:
        """Return ``layer``, or the layer at the published depth if it is None."""
        return super().hidden_layer(depth) if self.layer is None else self.layer


@lru_cache(maxsize=64)
def direction(width: int, *, seed: int, device: "device | None" = None) -> "Tensor":
    """Return RMU's fixed random unit vector u [width], entries uniform in [0, 1) before normalising."""
    import torch

    from xlharm.plan.digest import mix

    generator = torch.Generator().manual_seed(mix(seed, "rmu", width) % 2**63)
    u = torch.rand(width, generator=generator)
    return torch.nn.functional.normalize(u, dim=0).to(device)
