"""The training loop, the same for every stage, objective and pack size."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from xlharm.config.unlearning import StopRule
from xlharm.corpus.rows import Row
from xlharm.errors import StoppedError, UserError
from xlharm.parallel import side_by_side
from xlharm.train.batches import Batch, LossTokens
from xlharm.train.engine import PackEngine
from xlharm.train.forward import Output, Request
from xlharm.train.optimizer import scheduled_rate
from xlharm.train.saver import Restored, Saver, Wish
from xlharm.train.slots import BatchShare, Slot, Trained
from xlharm.train.terms import CURVES


def train_pack(
    engine: PackEngine,
    slots: Sequence[Slot],
    *,
    rows: BatchShare,
    saver: Saver | None = None,
    report: Callable[[int, int], None] | None = None,
) -> list[Trained]:
    """Train all slots of a pack together and return their results, in order.

    Args:
        engine: the worker's engine.
        slots: trials of one shape (the same number of steps and the same batch sizes).
        rows: which rows of every batch this process computes.
        saver: saves and restores checkpoints; None for no checkpoints.
        report: called after each step with (finished steps, tokens so far).

    Raises:
        StoppedError: ``saver`` was told to stop. The state is saved.
        UserError: a slot's terms read hidden states of a layer that the base model does not have.
    """
    begun = time.perf_counter()
    pack = _Pack(engine=engine, slots=tuple(slots), rows=rows)
    steps = slots[0].training.steps
    curves = torch.zeros(len(CURVES), steps, len(slots), device=engine.device)
    for step in range(pack.begin(curves, saver), steps):
        curves[:, step] = pack.step(step)
        if report:
            report(step + 1, sum(pack.tokens))
        if pack.stop(curves, step + 1):
            break
        if saver and step + 1 < steps:
            wish = saver.agreed(world=rows.world, device=engine.device)
            if wish is not Wish.GO_ON:
                saver.keep(step + 1, engine.state(), curves.cpu())
            if wish is Wish.STOP:
                raise StoppedError(f"stopped after step {step + 1} of {steps}")
    return pack.finish(curves, seconds=time.perf_counter() - begun)


class _Pack:
    """A pack in training."""

    def __init__(self, *, engine: PackEngine, slots: tuple[Slot, ...], rows: BatchShare) -> None:
        self.engine = engine
        self.slots = slots
        self.rows = rows
        self.tokens = [0] * len(slots)
        self.reference: Tensor | None = None
        self.stopped: dict[int, tuple[int, str]] = {}
        self.retain_weights: list[float | Tensor] = [s.terms.retain_weight for s in slots]
        self.layers = [_layer(s, engine) for s in slots]
        self.reference_on_retain = any(s.terms.retain_needs_reference for s in slots)
        lengths = {len(row.ids) for s in slots for row in s.stream.all_rows()} if engine.steady else set()
        self.steady = max(lengths) if len(lengths) > 1 else None  # rows of one length give every step the same shape

    def begin(self, curves: Tensor, saver: Saver | None) -> int:
        """Load the engine and return the first step to run."""
        slots = self.slots
        self.engine.load([s.initial for s in slots], masks=[s.mask for s in slots], active=[s.active for s in slots])
        for i, s in enumerate(slots):
            self.engine.configure(i, weight_decay=s.training.weight_decay, clip=s.training.clip)
        if any(s.terms.needs_reference for s in slots):
            self.reference = self.engine.reference()
        restored = self._restored(saver, at_most=curves.shape[1]) if saver else None
        if restored is None:
            return 0
        step, state, earlier = restored
        self.engine.load_state(state)
        curves.copy_(earlier)
        for done in range(1, step + 1):
            self._count([Batch.of(s.stream.batch(done - 1)) for s in slots])
            self._weigh(curves[:, done - 1])
            self.stop(curves, done)
        return step

    def _restored(self, saver: Saver, *, at_most: int) -> Restored | None:
        """Return the newest state that all ranks have undamaged."""
        while True:
            restored = saver.restore(at_most) if at_most else None
            at_most, most = self.rows.extremes(restored[0] if restored else 0, device=self.engine.device)
            if at_most == most:
                return restored

    def stop(self, curves: Tensor, done: int) -> bool:
        """Stop slots whose losses have crossed a bound of their stop rule; return whether no slot is left to train."""
        for k, slot in enumerate(self.slots):
            rule = slot.terms.stop
            if rule and slot.active and k not in self.stopped:
                crossed = crossed_bound(rule, {n: curves[i, :done, k].tolist() for i, n in enumerate(CURVES)})
                if crossed:
                    self.stopped[k] = (done, crossed)
                    self.engine.stop(k)
        return all(k in self.stopped or not slot.active for k, slot in enumerate(self.slots))

    def step(self, step: int) -> Tensor:
        """Run one step; return each slot's value of every curve, [4, K]."""
        batches = [Batch.of(s.stream.batch(step)) for s in self.slots]
        values = self._accumulated(batches)
        self._count(batches)
        self.engine.step([self._rate(s, step) for s in self.slots])
        if self.rows.world > 1:
            torch.distributed.all_reduce(values)
        self._weigh(values)
        return values

    def _weigh(self, values: Tensor) -> None:
        """Set the weights of the retain terms in the next step, from every curve's value in this one, [4, K]."""
        losses = values[CURVES.index("retain")]
        pairs = enumerate(zip(self.slots, self.retain_weights, strict=True))
        self.retain_weights = [slot.terms.next_retain_weight(weight, losses[k]) for k, (slot, weight) in pairs]

    def _accumulated(self, batches: Sequence[Batch]) -> Tensor:
        """Accumulate the gradients of a step; use more micro-batches whenever the device runs out of memory."""
        size = batches[0].places
        each = sum(batch.tokens for batch in batches) / size
        while True:
            micro_batches = self.rows.micro_batches(
                size, micro=max(1, math.floor(min(self.engine.most_tokens / each + 1e-9, size)))
            )
            try:
                return self._in_micro_batches(batches, micro_batches)
            except torch.OutOfMemoryError:
                if not self.engine.can_begin_again or (len(micro_batches[0]) == 1 and not self.engine.replaying):
                    raise
            # Outside of the `except` block, so that the traceback no longer keeps the failed micro-batch's tensors.
            if not self.engine.begin_again():
                self.engine.most_tokens = len(micro_batches[0]) // 2 * each

    def _in_micro_batches(self, batches: Sequence[Batch], micro_batches: Sequence[list[int]]) -> Tensor:
        values = torch.zeros(len(CURVES), len(self.slots), device=self.engine.device)
        for i, micro_batch in enumerate(micro_batches):
            loss, shares = self._micro_batch(batches, micro_batch)
            values += shares
            self.engine.backward(loss * self.rows.world, last=i == len(micro_batches) - 1)
        return values

    def _count(self, batches: Sequence[Batch]) -> None:
        for k, batch in enumerate(batches):
            self.tokens[k] += batch.tokens if self.slots[k].active and k not in self.stopped else 0

    def _rate(self, slot: Slot, step: int) -> float:
        t = slot.training
        return scheduled_rate(
            step, steps=t.steps, rate=t.learning_rate, warmup=t.warmup_steps, schedule=t.schedule,
            from_zero=t.warmup_from_zero,
        )  # fmt: skip

    def _micro_batch(self, batches: Sequence[Batch], micro_batch: list[int]) -> tuple[Tensor, Tensor]:
        """Run the forward pass of one micro-batch; return its summed loss and its part of the step's curves, [4, K]."""
        device, k = self.engine.device, len(self.slots)
        places = micro_batch or [0]  # a rank without rows takes part in collective operations with weight zero
        parts = [batch.select(places) for batch in batches]
        loss_tokens = [LossTokens.of(some, device=device) for some in parts]
        reference = self._reference(parts, loss_tokens)
        requests = self._requests(loss_tokens, reference=False, stops=[None] * k)
        model = self._forward([some.all_rows() for some in parts], requests)
        shares = torch.zeros(len(CURVES), k, device=device)
        total = torch.zeros((), device=device)
        for i, slot in enumerate(self.slots):
            on = slot.active and bool(micro_batch)
            if self.engine.lockstep or not on:  # ZeRO expects a gradient of every parameter from every rank
                total = total + 0.0 * (model[i].logp.sum() + model[i].logits.sum())
            if not on:
                continue
            slot_reference = reference[i] if reference else None
            terms = slot.terms.values(
                model[i], slot_reference, view=loss_tokens[i], batch=batches[i], retain_weight=self.retain_weights[i]
            )
            for term in terms:
                if term.value.requires_grad:
                    total = total + term.weight * term.value
                shares[CURVES.index(term.curve), i] = term.value.detach()
        return total, shares

    def _forward(
        self, rows: Sequence[Sequence[Row]], requests: Sequence[Request], *, fixed: Tensor | None = None
    ) -> list[Output]:
        # Finished slots keep their rows: a resumed pack then has the same shapes, and so the same rounding, as an
        # uninterrupted one.
        ragged = self.engine.rows(rows, steady=self.steady).to(self.engine.device)
        return self.engine(ragged, requests, fixed=fixed)

    def _requests(
        self, loss_tokens: Sequence[LossTokens], *, reference: bool, stops: Sequence[int | None]
    ) -> list[Request]:
        each = zip(self.slots, self.layers, loss_tokens, stops, strict=True)
        return [s.terms.request(view, layer=n, reference=reference, stop=stop) for s, n, view, stop in each]

    @torch.no_grad()
    def _reference(self, parts: Sequence[Batch], loss_tokens: Sequence[LossTokens]) -> list[Output] | None:
        """Run the reference model on the target rows, and on the retain rows if a retain term needs that."""
        if self.reference is None:
            return None
        stops = [None if self.reference_on_retain else view.before_retain for view in loss_tokens]
        rows = [some.all_rows() for some in parts]
        if not self.reference_on_retain:
            # target rows come first, so leaving out the retain rows does not change their positions
            rows = [(*some.target, *some.preferred) or some.retain[:1] for some in parts]
        return self._forward(rows, self._requests(loss_tokens, reference=True, stops=stops), fixed=self.reference)

    def finish(self, curves: Tensor, *, seconds: float) -> list[Trained]:
        """Return the results of all slots."""

        def trained(k: int, slot: Slot, row: Tensor) -> Trained:
            vector = row.float().cpu()
            steps = self.stopped[k][0] if k in self.stopped else curves.shape[1]
            names = [n for n in CURVES if slot.terms.retain is not None or not n.startswith("retain")]
            return Trained(
                adapter=vector,
                curves={n: curves[CURVES.index(n), :steps, k].tolist() for n in names},
                moved=float((vector - slot.initial.cpu()).norm()),
                began=float(slot.initial.norm()),
                tokens=self.tokens[k],
                seconds=seconds,
                stopped=self.stopped.get(k),
            )

        rows = zip(self.slots, self.engine.reference(), strict=True)
        self.engine.release()
        return side_by_side([partial(trained, k, slot, row) for k, (slot, row) in enumerate(rows)])


def crossed_bound(rule: StopRule, curves: Mapping[str, Sequence[float]]) -> str | None:
    """Return the name of the curve whose mean over the last ``window`` steps has reached its bound, or None."""
    for name, bound in (("forget_nll", rule.forget_nll), ("retain_nll", rule.retain_nll)):
        recent = curves[name][-rule.window :]
        if bound is not None and len(recent) == rule.window and sum(recent) / len(recent) >= bound:
            return name
    return None


def _layer(slot: Slot, engine: PackEngine) -> int | None:
    """Return the decoder layer whose hidden states a slot's terms read, or None.

    Raises:
        UserError: the base does not have that layer.
    """
    layer = slot.terms.hidden_layer(engine.depth)
    if layer is not None and layer >= engine.depth:
        raise UserError(f"layer: the base has no decoder layer {layer} (it has 0 to {engine.depth - 1})")
    return layer
