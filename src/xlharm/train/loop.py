"""The training loop: one for every stage, every objective, every pack size."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from xlharm.config.unlearning import Stop
from xlharm.corpus.rows import Row
from xlharm.errors import StoppedError, UserError
from xlharm.model.ragged import Ragged
from xlharm.parallel import side_by_side
from xlharm.train.batches import Batch, View
from xlharm.train.engine import PackEngine
from xlharm.train.forward import Output, Request
from xlharm.train.optimizer import scheduled_rate
from xlharm.train.saver import Saver, Wish
from xlharm.train.slots import Rows, Slot, Trained
from xlharm.train.terms import CURVES


def train_pack(
    engine: PackEngine,
    slots: Sequence[Slot],
    *,
    rows: Rows,
    pad: int,
    saver: Saver | None = None,
    report: Callable[[int, int], None] | None = None,
) -> list[Trained]:
    """Train all slots of a pack together and return what came of each, in order.

    Args:
        engine: the worker's engine.
        slots: trials of one shape (same steps and batch sizes).
        rows: this process's share of every batch.
        pad: token id for finished slots' rows and between slots; it never reaches a loss.
        saver: checkpoints, for long stages.
        report: called after each step with (finished steps, tokens so far).

    Raises:
        StoppedError: the saver asked to stop; the state is saved.
    """
    begun = time.perf_counter()
    pack = _Pack(engine=engine, slots=tuple(slots), rows=rows, pad=pad)
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
    """One pack being trained."""

    def __init__(self, *, engine: PackEngine, slots: tuple[Slot, ...], rows: Rows, pad: int) -> None:
        self.engine = engine
        self.slots = slots
        self.rows = rows
        self.pad = pad
        self.tokens = [0] * len(slots)
        self.reference: Tensor | None = None
        self.stopped: dict[int, tuple[int, str]] = {}
        self.layers = [_layer(s, engine) for s in slots]
        self.reference_on_retain = any(s.terms.retain_needs_reference for s in slots)
        lengths = {len(row.ids) for s in slots for row in s.stream.all_rows()} if engine.steady else set()
        self.steady = max(lengths) if len(lengths) > 1 else None  # where all are equal every step has one shape anyway

    def begin(self, curves: Tensor, saver: Saver | None) -> int:
        """Load the engine and return the first step to run."""
        slots = self.slots
        self.engine.load([s.initial for s in slots], masks=[s.mask for s in slots], active=[s.active for s in slots])
        for i, s in enumerate(slots):
            self.engine.configure(i, weight_decay=s.training.weight_decay, clip=s.training.clip)
        if any(s.terms.needs_reference for s in slots):
            self.reference = self.engine.reference()
        restored = saver.restore() if saver else None
        # Ranks that cannot all go on from one step (a file is damaged, a machine is new) begin anew together.
        least, most = self.rows.extremes(restored[0] if restored else 0, device=self.engine.device)
        if restored is None or least != most:
            return 0
        step, state, earlier = restored
        self.engine.load_state(state)
        curves.copy_(earlier)
        for done in range(1, step + 1):
            self._count([Batch.of(s.stream.batch(done - 1)) for s in slots])
            self.stop(curves, done)
        return step

    def stop(self, curves: Tensor, done: int) -> bool:
        """Stop slots that have crossed a bound of theirs; return whether none is left to train."""
        for k, slot in enumerate(self.slots):
            rule = slot.terms.stop
            if rule and slot.active and k not in self.stopped:
                crossed = crossed_bound(rule, {n: curves[i, :done, k].tolist() for i, n in enumerate(CURVES)})
                if crossed:
                    self.stopped[k] = (done, crossed)
                    self.engine.stop(k)
        return all(k in self.stopped or not slot.active for k, slot in enumerate(self.slots))

    def step(self, step: int) -> Tensor:
        """Run one step; return [4, K]: each slot's share of every curve."""
        batches = [Batch.of(s.stream.batch(step)) for s in self.slots]
        values = self._accumulated(batches)
        self._count(batches)
        self.engine.step([self._rate(s, step) for s in self.slots])
        if self.rows.world > 1:
            torch.distributed.all_reduce(values)
        return values

    def _accumulated(self, batches: Sequence[Batch]) -> Tensor:
        """Accumulate the gradients of a step, in as many bites as the device's memory asks for."""
        size = batches[0].places
        each = sum(batch.tokens for batch in batches) / size
        while True:
            bites = self.rows.bites(size, micro=max(1, math.floor(min(self.engine.most_tokens / each + 1e-9, size))))
            try:
                return self._in_bites(batches, bites)
            except torch.OutOfMemoryError:
                if not self.engine.can_begin_again or (len(bites[0]) == 1 and not self.engine.replaying):
                    raise
            # Here the failed bite's tensors are gone: with the frame that made them, and the traceback that held it.
            if not self.engine.begin_again():
                self.engine.most_tokens = len(bites[0]) // 2 * each

    def _in_bites(self, batches: Sequence[Batch], bites: Sequence[list[int]]) -> Tensor:
        values = torch.zeros(len(CURVES), len(self.slots), device=self.engine.device)
        for i, bite in enumerate(bites):
            loss, shares = self._bite(batches, bite)
            values += shares
            self.engine.backward(loss * self.rows.world, last=i == len(bites) - 1)
        return values

    def _count(self, batches: Sequence[Batch]) -> None:
        for k, batch in enumerate(batches):
            self.tokens[k] += batch.tokens if self.slots[k].active and k not in self.stopped else 0

    def _rate(self, slot: Slot, step: int) -> float:
        t = slot.training
        return scheduled_rate(step, steps=t.steps, rate=t.learning_rate, warmup=t.warmup_steps, schedule=t.schedule)

    def _bite(self, batches: Sequence[Batch], bite: list[int]) -> tuple[Tensor, Tensor]:
        """Forward one micro-batch; return its summed loss and the [4, K] shares of the step's curves."""
        device, k = self.engine.device, len(self.slots)
        places = bite or [0]  # a rank without rows still takes part in the collectives, with weight zero
        chosen = [batch.select(places) for batch in batches]
        views = [View.of(some, device=device) for some in chosen]
        reference = self._reference(chosen, views)
        requests = self._requests(views, reference=False, stops=[None] * k)
        model = self._forward([some.all_rows() for some in chosen], requests)
        shares = torch.zeros(len(CURVES), k, device=device)
        total = torch.zeros((), device=device)
        for i, slot in enumerate(self.slots):
            on = slot.active and bool(bite)
            if self.engine.lockstep or not on:  # stays in the graph: ZeRO expects every gradient, from every rank
                total = total + 0.0 * (model[i].logp.sum() + model[i].logits.sum())
            if not on:
                continue
            kept = reference[i] if reference else None
            for term in slot.terms.values(model[i], kept, view=views[i], batch=batches[i]):
                if term.value.requires_grad:
                    total = total + term.weight * term.value
                shares[CURVES.index(term.curve), i] = term.value.detach()
        return total, shares

    def _forward(
        self, rows: Sequence[Sequence[Row]], requests: Sequence[Request], *, fixed: Tensor | None = None
    ) -> list[Output]:
        # Finished slots' rows count, too: a pack that is taken up again has the shapes, and so the rounding, of all.
        ids = [
            [row.ids if slot.active else (self.pad,) * len(row.ids) for row in mine]
            for slot, mine in zip(self.slots, rows, strict=True)
        ]
        ragged = Ragged.of(ids, pad=self.pad, uneven=self.engine.uneven, steady=self.steady).to(self.engine.device)
        return self.engine(ragged, requests, fixed=fixed)

    def _requests(self, views: Sequence[View], *, reference: bool, stops: Sequence[int | None]) -> list[Request]:
        each = zip(self.slots, self.layers, views, stops, strict=True)
        return [s.terms.request(view, layer=n, reference=reference, stop=stop) for s, n, view, stop in each]

    @torch.no_grad()
    def _reference(self, chosen: Sequence[Batch], views: Sequence[View]) -> list[Output] | None:
        """Run the reference model; on the target rows only, unless a retain term needs it on all."""
        if self.reference is None:
            return None
        stops = [None if self.reference_on_retain else view.before_retain for view in views]
        rows = [some.all_rows() for some in chosen]
        if not self.reference_on_retain:
            # target rows lie first, so their positions are the same without what follows
            rows = [(*some.target, *some.preferred) or some.retain[:1] for some in chosen]
        return self._forward(rows, self._requests(views, reference=True, stops=stops), fixed=self.reference)

    def finish(self, curves: Tensor, *, seconds: float) -> list[Trained]:
        """Read the results off the engine."""

        def trained(k: int, slot: Slot, row: Tensor) -> Trained:
            vector = row.float().cpu()
            steps = self.stopped[k][0] if k in self.stopped else curves.shape[1]
            kept = [n for n in CURVES if slot.terms.retain is not None or not n.startswith("retain")]
            return Trained(
                adapter=vector,
                curves={n: curves[CURVES.index(n), :steps, k].tolist() for n in kept},
                moved=float((vector - slot.initial.cpu()).norm()),
                began=float(slot.initial.norm()),
                tokens=self.tokens[k],
                seconds=seconds,
                stopped=self.stopped.get(k),
            )

        rows = zip(self.slots, self.engine.reference(), strict=True)
        self.engine.release()
        return side_by_side([partial(trained, k, slot, row) for k, (slot, row) in enumerate(rows)])


def crossed_bound(rule: Stop, curves: Mapping[str, Sequence[float]]) -> str | None:
    """Return which bound of a stop rule the mean of its last ``window`` steps has reached, or None."""
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
