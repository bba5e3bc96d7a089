"""The DeepSpeed engine. A worker builds it once for a shape and then uses it for one pack after another.

Re-initialising DeepSpeed leaks memory. So a new pack only replaces the slots' values and the optimiser's state.
ZeRO stage 0 is for one process, stage 2 for a data-parallel group, and stage 3 also partitions the base model. With
offload, the partitions are kept in the machine's memory: ZeRO-Offload (2101.06840) for the optimiser, ZeRO-Infinity
(2104.07857) for the base model.
"""

import logging
import math
import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from xlharm.corpus.rows import Row
from xlharm.model.base import depth, settings
from xlharm.model.lora import AdapterPool, StackedModel
from xlharm.model.ragged import Ragged
from xlharm.plan.sharding import Offload
from xlharm.train.forward import Output, PackModel, Request
from xlharm.train.optimizer import SlotAdamW


class PackEngine:
    """A DeepSpeed engine around a ``PackModel``.

    Args:
        stacked: the base model with its adapter layers.
        slots: largest number of trials in a pack.
        zero: ZeRO stage: 0, 2 or 3.
        world: number of data-parallel ranks.
        device: device to train on.
        offload: what is kept in the machine's memory between uses. `optimizer`: the fp32 adapters and moments, and
            the update is computed there, too (ZeRO stage 2 or 3). `params`: base model and adapters (ZeRO stage 3).
            `both`: all of it. None: everything stays on the device.

    Attributes:
        most_tokens: largest number of tokens, over all slots, of one forward and backward pass. It is infinite until
            the device runs out of memory.
    """

    def __init__(
        self,
        stacked: StackedModel,
        *,
        slots: int,
        zero: int,
        world: int,
        device: torch.device,
        offload: Offload | None = None,
    ) -> None:
        self.layout = stacked.layout
        self.zero = zero
        self.world = world
        self.device = device
        self.pool = AdapterPool(slots=slots, size=self.layout.size, device=device, complete=zero > 0)
        self.optimizer = SlotAdamW(list(self.pool.slots))
        self.optimizer.across = device if zero >= 2 and world > 1 else None
        self._stacked = stacked
        self._model = PackModel(stacked, self.pool)
        self._engine = _initialize(self._model, self.optimizer, zero=zero, device=device, offload=offload)
        self.most_tokens = math.inf
        self._count = 0
        self._masks: list[Tensor | None] = []

    def load(self, vectors: Sequence[Tensor], *, masks: Sequence[Tensor | None], active: Sequence[bool]) -> None:
        """Put adapters into the first slots and reset the optimiser's state.

        Args:
            vectors: one flat adapter [P] for each slot of the pack.
            masks: for each slot, 1 where its adapter is trained, [P]; None trains all of it.
            active: for each slot, whether it is trained at all.
        """
        self._count = len(vectors)
        self._masks = [m.to(self.device) if m is not None else None for m in masks]
        slots = list(self.pool.slots)
        with self._gathered(slots, modifier=0), torch.no_grad():
            for i, slot in enumerate(slots):
                slot.zero_() if i >= len(vectors) else slot.copy_(vectors[i])
        self._refresh()
        self.optimizer.reset()
        for i, group in enumerate(self.optimizer.param_groups):
            group["active"] = i < len(active) and active[i]
        self._engine.optimizer.zero_grad()
        self._model.begin()

    def configure(self, slot: int, *, weight_decay: float, clip: float) -> None:
        """Set a slot's weight decay and its largest gradient norm (``clip``)."""
        self.optimizer.param_groups[slot].update(weight_decay=weight_decay, clip=clip)

    @property
    def depth(self) -> int:
        """Number of decoder layers of the base model."""
        return depth(self._model.base)

    @property
    def width(self) -> int:
        """Width of the base model's hidden states."""
        return int(settings(self._model.base).hidden_size)

    def rows(self, groups: Sequence[Sequence[Row]], *, steady: int | None) -> Ragged:
        """Arrange the rows of all slots; see ``StackedModel.rows``."""
        sources = [[row.source for row in rows] for rows in groups]
        return self._stacked.rows([[row.inputs for row in rows] for rows in groups], steady=steady, sources=sources)

    def __call__(self, ragged: Ragged, requests: Sequence[Request], *, fixed: Tensor | None = None) -> list[Output]:
        """Run the forward pass of all slots; see ``PackModel.forward``."""
        out = zip(requests, self._engine(ragged, requests, self._masks, fixed), strict=True)
        return [Output(request=r, logp=logp, logits=logits, hidden=hidden) for r, (logp, logits, hidden) in out]

    def stop(self, slot: int) -> None:
        """Stop training a slot: later steps do not change it."""
        self.optimizer.param_groups[slot]["active"] = False

    def reference(self) -> Tensor:
        """Return a detached copy of the slots' current adapters [K, P].

        Taken before the first step, they are the adapters of the reference model for the whole stage.
        """
        slots = list(self.pool.slots)[: self._count]
        with self._gathered(slots), torch.no_grad():
            return torch.stack([slot.detach().clone() for slot in slots])

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Accumulate the gradients of one micro-batch; ``last`` is True for the last micro-batch of a step."""
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss)

    @property
    def lockstep(self) -> bool:
        """Whether every layer of the base model is a collective operation in which all ranks must take part."""
        return self.zero == 3 and self.world > 1

    @property
    def can_begin_again(self) -> bool:
        """Whether a step that failed half-way can be repeated: no collective is open, no ZeRO bucket is half full."""
        return self.zero == 0 and self.world == 1

    def begin_again(self) -> bool:
        """Discard the gradients of a step; free captured steps and return whether they held memory."""
        self._engine.optimizer.zero_grad()
        return self.release()

    def release(self) -> bool:
        """Free memory that only training needs; return whether captured steps held any."""
        held = self.replaying
        self._model.replays = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return held

    @property
    def replaying(self) -> bool:
        """Whether captured steps hold memory."""
        return self._model.replays is not None and self._model.replays.held

    @property
    def steady(self) -> bool:
        """Whether steps should have few different shapes, because each new shape is captured as a CUDA graph."""
        return self._model.captures and self._stacked.uneven

    def step(self, rates: Sequence[float]) -> None:
        """Update every active slot with its own learning rate."""
        for i, rate in enumerate(rates):
            self.optimizer.param_groups[i]["lr"] = rate
        self._engine.step()

    def state(self) -> dict[str, Tensor]:
        """Return the adapters and this rank's part of the optimiser state, for a checkpoint."""
        tensors = {f"{i}.slot": slot.cpu() for i, slot in enumerate(self.reference())}
        for i in range(self._count):
            tensors |= {f"{i}.{name}": tensor for name, tensor in self.optimizer.snapshot(i).items()}
        return tensors

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a checkpoint's ``state``; slots, ranks and ZeRO stage must be the same as when it was saved."""
        slots = list(self.pool.slots)[: self._count]
        with self._gathered(slots, modifier=0), torch.no_grad():
            for i, slot in enumerate(slots):
                slot.copy_(state[f"{i}.slot"])
        self._refresh()  # a stopped slot is not updated again, so its master copy must be set here
        for i in range(self._count):
            snapshot = {n: state[f"{i}.{n}"] for n in ("param", "exp_avg", "exp_avg_sq", "step") if f"{i}.{n}" in state}
            if snapshot:
                self.optimizer.resume(i, snapshot)

    def _refresh(self) -> None:
        """Copy the slots' values to ZeRO's fp32 master copies."""
        if self.zero:
            self._engine.optimizer.refresh_fp32_params()

    def _gathered(self, slots: list[Any], *, modifier: int | None = None) -> Any:
        if self.zero < 3:
            return nullcontext()
        import deepspeed

        return deepspeed.zero.GatheredParameters(slots, modifier_rank=modifier)


def _initialize(
    model: PackModel, optimizer: SlotAdamW, *, zero: int, device: torch.device, offload: Offload | None
) -> Any:
    """Build the DeepSpeed engine without log messages and without its compiled operators."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    import deepspeed

    # Compiling the shared-memory operator needs a C++ compiler and half a minute on every new machine. gloo is enough.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,  # DeepSpeed needs a number here; the loop makes the batches
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,  # DeepSpeed would clip all trials by one common norm; SlotAdamW clips each trial
        "steps_per_print": 2**31,
        "timers": {"throughput": {"enabled": False, "synchronized": False}},  # they would wait for the GPU every step
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # it needs a C++ compiler; torch's fused AdamW runs on CPUs without one
        "zero_optimization": {"stage": zero},
    }
    if zero == 3:
        config["zero_optimization"] |= {
            "stage3_param_persistence_threshold": 0,
            "stage3_prefetch_bucket_size": 0,
        }
    host = {"device": "cpu", "pin_memory": device.type == "cuda"}
    if offload in {"optimizer", "both"}:
        config["zero_optimization"]["offload_optimizer"] = host
    if offload in {"params", "both"}:
        config["zero_optimization"]["offload_param"] = host
    if zero == 3:
        _partition(model.base, config, device=device)
    engine, _, _, _ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    if zero == 0:  # one rank alone: nothing to add up, and DeepSpeed would copy all gradients twice
        engine.enable_backward_allreduce = False
    return engine


def _partition(base: nn.Module, config: dict[str, Any], *, device: torch.device) -> None:
    """Partition a base model on the CPU, one parameter at a time.

    ``deepspeed.initialize`` would move the whole model to the device first, where it may not fit.
    """
    import deepspeed

    for buffer in base.buffers():
        buffer.data = buffer.to(device)
    deepspeed.zero.Init(module=base, config_dict_or_path=config, dtype=next(base.parameters()).dtype)
