"""Steering: add a direction to the hidden states of one decoder layer (activation addition)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xlharm.config.training import Above0, NonNegative
from xlharm.errors import UserError
from xlharm.probes.base import AnswerProbe, Planned, reading

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xlharm.evaluate.asking import Answer, Asking
    from xlharm.model.lora import StackedModel
    from xlharm.plan.cells import CellBuilder
    from xlharm.plan.stage import Stage


class Steer(AnswerProbe):
    """Add the mean difference of activations before and after unlearning back at one layer (2606.03291).

    Attributes:
        layer: decoder layer; None is the middle one.
        strength: factor on the difference; 1 undoes it on average.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"causal"})

    kind: Literal["steer"]
    layer: NonNegative | None = None
    strength: Above0 = 1.0

    def plan(self, builder: CellBuilder, *, name: str, model: Stage, before: Stage | None) -> Planned | None:
        """Plan the evaluations, which read the model before unlearning too; None where nothing was unlearned."""
        planned = super().plan(builder, name=name, model=model, before=before)
        if planned is None or before is None:
            return None
        return reading(planned, before)

    def answers(self, asking: Asking) -> tuple[Asking, list[list[Answer]]]:
        """Let the models answer with their direction added."""
        layer = self._layer(asking.stacked.model)
        before = asking.parents(1)
        with asking.stacked.uncompiled():
            means = [
                mean_activation(asking.stacked, adapters, asking.prompts, layer=layer, rows=asking.rows)
                for adapters in (before, asking.adapters)
            ]
            with steered(asking.stacked.model, self.strength * (means[0] - means[1]), layer=layer):
                return asking, asking.generate(asking.adapters)

    def _layer(self, model: nn.Module) -> int:
        from xlharm.model.base import settings

        depth = int(settings(model).num_hidden_layers)
        layer = depth // 2 if self.layer is None else self.layer
        if layer >= depth:
            raise UserError(f"probes: steer: the base has no decoder layer {layer} (it has 0 to {depth - 1})")
        return layer


def mean_activation(
    stacked: StackedModel, adapters: Tensor, prompts: Sequence[tuple[int, ...]], *, layer: int, rows: int
) -> Tensor:
    """Return the mean hidden state at the last token of the prompts after a layer, [K, width], float64.

    Args:
        stacked: the base.
        adapters: [K, P].
        prompts: token ids, the same for every adapter.
        layer: decoder layer.
        rows: most rows of a batch, over all adapters.
    """
    import torch

    from xlharm.model.base import decoder, hidden_states, settings

    k = adapters.shape[0]
    size = max(1, rows // k)
    with torch.inference_mode(), stacked.adapters(adapters):
        total = torch.zeros(k, int(settings(stacked.model).hidden_size), dtype=torch.float64, device=adapters.device)
        for start in range(0, len(prompts), size):
            some = prompts[start : start + size]
            lengths = torch.tensor([len(p) for p in some], device=adapters.device)
            ids = torch.zeros(len(some), int(lengths.max()), dtype=torch.long)
            for i, prompt in enumerate(some):
                ids[i, : len(prompt)] = torch.tensor(prompt)
            with hidden_states(stacked.model, {layer}) as kept:
                decoder(stacked.model)(input_ids=ids.to(adapters.device).repeat(k, 1), use_cache=False)
            grouped = kept[layer].view(k, *ids.shape, -1)
            total += grouped[:, torch.arange(len(some)), lengths - 1].double().sum(1)
        return total / len(prompts)


@contextmanager
def steered(model: nn.Module, directions: Tensor, *, layer: int) -> Iterator[None]:
    """Add directions [K, width] to every position's hidden state after a layer, each to its own adapter's rows."""
    from xlharm.model.base import layers

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        k = directions.shape[0]
        moved = hidden.view(k, -1, *hidden.shape[1:]) + directions.to(hidden.dtype)[:, None, None]
        moved = moved.view_as(hidden)
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = layers(model)[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
