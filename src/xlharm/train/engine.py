"""The DeepSpeed engine: built once a worker and shape, then filled with one pack after another.

Re-initialising DeepSpeed leaks, so packs swap the slots' values and the optimiser's state instead. ZeRO 0
serves one process, ZeRO 2 a data-parallel group, ZeRO 3 partitions the base as well.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from xlharm.model.base import decoder, head
from xlharm.model.lora import AdapterPool, StackedModel
from xlharm.train.optimizer import SlotAdamW


class PackModel(nn.Module):
    """The frozen base with a pool of adapters: ids in, logits at chosen positions out."""

    def __init__(self, stacked: StackedModel, pool: AdapterPool) -> None:
        super().__init__()
        self.base = stacked.model
        self.pool = pool
        self._stacked = stacked

    def forward(
        self,
        ids: Tensor,
        chosen: Sequence[Tensor],
        masks: Sequence[Tensor | None],
        fixed: Tensor | None = None,
    ) -> list[Tensor]:
        """Return each slot's logits at its chosen positions.

        Args:
            ids: [K·rows, length]; a slot's rows lie together; right-padded (what is right of a token never
                reaches it, so no mask is needed).
            chosen: for each slot, indices into its flattened [rows·length] positions.
            masks: for each slot, where its adapter is trained; None is everywhere.
            fixed: adapters [K, P] to use instead of the pool's (the reference policy).

        Returns:
            For each slot, logits [chosen, vocabulary].
        """
        adapters = self.pool(len(chosen), masks) if fixed is None else fixed
        with self._stacked.adapters(adapters):
            hidden = decoder(self.base)(input_ids=ids, use_cache=False).last_hidden_state
        grouped = hidden.reshape(len(chosen), -1, hidden.shape[-1])
        # A slot's output layer runs on its own: the product's shape, and so its rounding, is the slot's alone.
        return [head(self.base, grouped[k].index_select(0, index)) for k, index in enumerate(chosen)]


class PackEngine:
    """A DeepSpeed engine around a ``PackModel``.

    Args:
        stacked: the base with its adapter layers.
        slots: most trials a pack has.
        zero: ZeRO stage, 0, 2 or 3.
        world: data-parallel ranks.
    """

    def __init__(self, stacked: StackedModel, *, slots: int, zero: int, world: int, device: torch.device) -> None:
        self.layout = stacked.layout
        self.zero = zero
        self.world = world
        self.device = device
        self.pool = AdapterPool(slots=slots, size=self.layout.size, device=device, complete=zero > 0)
        self.optimizer = SlotAdamW(list(self.pool.slots))
        self.optimizer.partitioned = zero >= 2 and world > 1
        self._model = PackModel(stacked, self.pool)
        self._engine = _initialize(self._model, self.optimizer, zero=zero)
        self._count = 0
        self._masks: list[Tensor | None] = []

    def load(self, vectors: Sequence[Tensor], *, masks: Sequence[Tensor | None], active: Sequence[bool]) -> None:
        """Fill the first slots with adapters [P] and forget the optimiser's state."""
        self._count = len(vectors)
        self._masks = [m.to(self.device) if m is not None else None for m in masks]
        slots = list(self.pool.slots)
        with self._gathered(slots, modifier=0), torch.no_grad():
            for i, slot in enumerate(slots):
                slot.zero_() if i >= len(vectors) else slot.copy_(vectors[i])
        if hasattr(self._engine.optimizer, "refresh_fp32_params") and self.zero:
            self._engine.optimizer.refresh_fp32_params()
        self.optimizer.reset()
        for i, group in enumerate(self.optimizer.param_groups):
            group["active"] = i < len(active) and active[i]
        self._engine.optimizer.zero_grad()

    def configure(self, slot: int, *, weight_decay: float, clip: float) -> None:
        """Set a slot's weight decay and clip."""
        self.optimizer.param_groups[slot].update(weight_decay=weight_decay, clip=clip)

    def __call__(self, ids: Tensor, chosen: Sequence[Tensor], *, fixed: Tensor | None = None) -> list[Tensor]:
        """Run the pack's forward; see ``PackModel.forward``."""
        out = self._engine(ids, chosen, self._masks, fixed)
        return list(out)

    def reference(self) -> Tensor:
        """Return the slots' current adapters [K, P], detached: the reference policy for a whole stage."""
        slots = list(self.pool.slots)[: self._count]
        with self._gathered(slots), torch.no_grad():
            return torch.stack([slot.detach().clone() for slot in slots])

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Accumulate gradients; ``last`` is True for the step's last micro-batch."""
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss)

    def step(self, rates: Sequence[float]) -> None:
        """Update every active slot with its own rate."""
        for i, rate in enumerate(rates):
            self.optimizer.param_groups[i]["lr"] = rate
        self._engine.step()

    def vectors(self) -> list[Tensor]:
        """Return the pack's adapters [P] on the CPU."""
        return list(self.reference().float().cpu())

    def state(self) -> dict[str, Tensor]:
        """Return the adapters and this rank's part of the optimiser, for a checkpoint."""
        found = {f"{i}.slot": slot.cpu() for i, slot in enumerate(self.reference())}
        for i in range(self._count):
            found |= {f"{i}.{name}": tensor for name, tensor in self.optimizer.snapshot(i).items()}
        return found

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from ``state`` (same slots, ranks and ZeRO stage)."""
        slots = list(self.pool.slots)[: self._count]
        with self._gathered(slots, modifier=0), torch.no_grad():
            for i, slot in enumerate(slots):
                slot.copy_(state[f"{i}.slot"])
        for i in range(self._count):
            snapshot = {n: state[f"{i}.{n}"] for n in ("param", "exp_avg", "exp_avg_sq", "step") if f"{i}.{n}" in state}
            if snapshot:
                self.optimizer.resume(i, snapshot)

    def _gathered(self, slots: list[Any], *, modifier: int | None = None) -> Any:
        if self.zero < 3:
            return nullcontext()
        import deepspeed

        return deepspeed.zero.GatheredParameters(slots, modifier_rank=modifier)


def _initialize(model: PackModel, optimizer: SlotAdamW, *, zero: int) -> Any:
    """Build the DeepSpeed engine, quietly, without its compiled CPU communication op."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    import deepspeed

    # Compiling the shared-memory op takes half a minute and a C++ compiler on every new machine; gloo serves.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,  # rows are batched by the loop; DeepSpeed only needs a number
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,  # DeepSpeed would clip all trials by their common norm; SlotAdamW clips each
        "steps_per_print": 2**31,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {"stage": zero},
    }
    if zero == 3:
        config["zero_optimization"] |= {
            "stage3_param_persistence_threshold": 0,
            "stage3_prefetch_bucket_size": 0,
        }
    engine, _, _, _ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    return engine
