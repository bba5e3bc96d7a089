"""The training loop: one for every stage, every objective, every pack size."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from xlharm.data.rows import Row, padded_length
from xlharm.data.streams import Stream
from xlharm.errors import StageError
from xlharm.train.engine import PackEngine
from xlharm.train.objectives import OBJECTIVES, Objective, Target
from xlharm.train.objectives.likelihood import kl_to_reference, nll
from xlharm.train.optimizer import scheduled_rate


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One trial of a pack.

    Attributes:
        training: the stage's settings (`spec["training"]`).
        objective: name in ``OBJECTIVES``.
        stream: its rows.
        initial: the adapter it starts from, [P].
        mask: where the adapter is trained, [P]; None is everywhere.
        active: False for a slot whose stage is finished already: it keeps its place in every tensor, with
            padding for rows, so that the other slots' numbers do not change.
    """

    training: dict[str, Any]
    objective: str
    stream: Stream
    initial: Tensor
    mask: Tensor | None
    active: bool = True


@dataclass
class Trained:
    """What came of one slot.

    Attributes:
        adapter: the trained adapter [P], on the CPU.
        target_loss: the objective's value at every step.
        retain_loss: the retain term's value at every step (empty without one).
        moved: Euclidean distance between the adapter before and after.
        tokens: tokens of its rows, padding excluded.
        seconds: wall time of the pack.
    """

    adapter: Tensor
    target_loss: list[float]
    retain_loss: list[float]
    moved: float
    tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which of a batch's rows this process computes, and in how large bites."""

    rank: int = 0
    world: int = 1
    micro: int | None = None

    def bites(self, size: int) -> list[list[int]]:
        """Cut the global row numbers 0…size-1 of this rank into micro-batches (empty ones keep ranks in step)."""
        mine = list(range(self.rank, size, self.world))
        most = -(-size // self.world)
        micro = min(self.micro or most, most)
        return [mine[i : i + micro] for i in range(0, most, micro)]


@dataclass
class Saver:
    """Saves and restores a pack's state between steps.

    Attributes:
        restore: returns (finished steps, engine state, losses so far), or None.
        save: takes the same.
        every: seconds between saves.
    """

    restore: Callable[[], tuple[int, dict[str, Tensor], Tensor] | None]
    save: Callable[[int, dict[str, Tensor], Tensor], None]
    every: float = 60.0
    _last: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Whether it is time to save."""
        if time.monotonic() - self._last < self.every:
            return False
        self._last = time.monotonic()
        return True


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
        pad: token id for padding; it never reaches a loss.
        saver: checkpoints, for long stages.
        report: called after each step with (finished steps, tokens so far).
    """
    begun = time.perf_counter()
    pack = _Pack(engine=engine, slots=tuple(slots), rows=rows, pad=pad)
    steps = int(slots[0].training["steps"])
    losses = torch.zeros(2, steps, len(slots), device=engine.device)
    first = pack.begin(losses, saver)
    for step in range(first, steps):
        losses[:, step] = pack.step(step)
        if report:
            report(step + 1, sum(pack.tokens))
        if saver and step + 1 < steps and saver.due():
            saver.save(step + 1, engine.state(), losses.cpu())
    return pack.finish(losses, seconds=time.perf_counter() - begun)


class _Pack:
    """One pack being trained."""

    def __init__(self, *, engine: PackEngine, slots: tuple[Slot, ...], rows: Rows, pad: int) -> None:
        self.engine = engine
        self.slots = slots
        self.rows = rows
        self.pad = pad
        self.length = max(padded_length(s.stream.all_rows()) for s in slots)
        self.tokens = [0] * len(slots)
        self.reference: Tensor | None = None
        self.objectives = [OBJECTIVES[s.objective] for s in slots]

    def begin(self, losses: Tensor, saver: Saver | None) -> int:
        """Load the engine and return the first step to run."""
        slots = self.slots
        self.engine.load([s.initial for s in slots], masks=[s.mask for s in slots], active=[s.active for s in slots])
        for i, s in enumerate(slots):
            self.engine.configure(i, weight_decay=s.training["weight_decay"], clip=s.training["clip"])
        if any(o.needs_reference for o in self.objectives) or self._kl():
            self.reference = self.engine.reference()
        restored = saver.restore() if saver else None
        if restored is None:
            return 0
        step, state, earlier = restored
        self.engine.load_state(state)
        losses.copy_(earlier)
        return step

    def _kl(self) -> bool:
        return any(s.training.get("retain") == "kl" for s in self.slots)

    def step(self, step: int) -> Tensor:
        """Run one step; return [2, K]: each slot's target loss and retain loss."""
        batches = [_Batch.of(s.stream.batch(step)) for s in self.slots]
        size = len(batches[0].rows)
        values = torch.zeros(2, len(self.slots), device=self.engine.device)
        bites = self.rows.bites(size)
        for i, bite in enumerate(bites):
            loss, shares = self._bite(batches, bite)
            values += shares
            self.engine.backward(loss * self.rows.world, last=i == len(bites) - 1)
        for k, batch in enumerate(batches):
            self.tokens[k] += sum(len(row.ids) for row in batch.rows) if self.slots[k].active else 0
        self.engine.step([self._rate(s, step) for s in self.slots])
        if self.rows.world > 1:
            torch.distributed.all_reduce(values)
        return values

    def _rate(self, slot: Slot, step: int) -> float:
        t = slot.training
        return scheduled_rate(
            step, steps=t["steps"], rate=t["learning_rate"], warmup=t["warmup_steps"], schedule=t["schedule"]
        )

    def _bite(self, batches: Sequence["_Batch"], bite: list[int]) -> tuple[Tensor, Tensor]:
        """Forward one micro-batch; return its summed loss and the [2, K] shares of the step's losses."""
        device, k = self.engine.device, len(self.slots)
        places = bite or [0]  # a rank without rows still takes part in the collectives, with weight zero
        ids = torch.full((k, len(places), self.length), self.pad)
        views = []
        for i, batch in enumerate(batches):
            if self.slots[i].active:
                for j, place in enumerate(places):
                    row = batch.rows[place].ids
                    ids[i, j, : len(row)] = torch.tensor(row)
            views.append(_View.of(batch, places, length=self.length, device=device))
        flat = ids.view(k * len(places), self.length).to(device)
        reference = self._reference_logits(flat, views)
        logits = self.engine(flat, [v.positions for v in views])
        shares = torch.zeros(2, k, device=device)
        total = torch.zeros((), device=device)
        for i, slot in enumerate(self.slots):
            terms = _terms(
                logits[i],
                reference[i] if reference else None,
                view=views[i],
                batch=batches[i],
                slot=slot,
                objective=self.objectives[i],
            )
            weight = 1.0 if slot.active and bite else 0.0
            total = total + weight * sum(term for term, _ in terms.values())
            for name, index in (("target", 0), ("retain", 1)):
                if name in terms:
                    shares[index, i] = weight * terms[name][1].detach()
        return total, shares

    @torch.no_grad()
    def _reference_logits(self, ids: Tensor, views: Sequence["_View"]) -> list[Tensor] | None:
        """Return each slot's logits under the reference policy; of its target rows only, unless KL needs all."""
        if self.reference is None:
            return None
        if self._kl():
            return self.engine(ids, [v.positions for v in views], fixed=self.reference)
        rows = ids.view(len(views), -1, self.length)[:, : max(1, views[0].target_rows)]
        # target rows lie first, so their positions are the same among fewer rows
        return self.engine(rows.flatten(0, 1), [v.positions[: v.split] for v in views], fixed=self.reference)

    def finish(self, losses: Tensor, *, seconds: float) -> list[Trained]:
        """Read the results off the engine."""
        target, retain = losses.cpu().tolist()
        found = []
        for k, (slot, vector) in enumerate(zip(self.slots, self.engine.vectors(), strict=True)):
            has_retain = slot.training.get("retain", "none") != "none"
            found.append(
                Trained(
                    adapter=vector,
                    target_loss=[step[k] for step in target],
                    retain_loss=[step[k] for step in retain] if has_retain else [],
                    moved=float((vector - slot.initial.cpu()).norm()),
                    tokens=self.tokens[k],
                    seconds=seconds,
                )
            )
        return found


@dataclass(frozen=True)
class _Batch:
    """A slot's global batch of one step: target rows first, then retain rows."""

    rows: list[Row]
    targets: int
    target_tokens: int
    retain_tokens: int

    @staticmethod
    def of(parts: tuple[list[Row], list[Row]]) -> "_Batch":
        target, retain = parts
        return _Batch(
            rows=[*target, *retain],
            targets=len(target),
            target_tokens=sum(len(r.ids) - r.start for r in target),
            retain_tokens=sum(len(r.ids) - r.start for r in retain),
        )


@dataclass(frozen=True)
class _View:
    """Where the loss tokens of some of a batch's rows lie.

    Attributes:
        positions: [tokens], indices into [rows·length] of the positions that *predict* a loss token.
        labels: [tokens], the tokens predicted.
        owner: [tokens], index of the token's row among the rows of this view.
        split: the first ``split`` tokens are of target rows, the others of retain rows.
        target_rows: number of target rows.
    """

    positions: Tensor
    labels: Tensor
    owner: Tensor
    split: int
    target_rows: int

    @staticmethod
    def of(batch: _Batch, places: Sequence[int], *, length: int, device: torch.device) -> "_View":
        positions: list[int] = []
        labels: list[int] = []
        owner: list[int] = []
        split = target_rows = 0
        for j, place in enumerate(places):
            row = batch.rows[place]
            positions += range(j * length + row.start - 1, j * length + len(row.ids) - 1)
            labels += row.ids[row.start :]
            owner += [j] * (len(row.ids) - row.start)
            if place < batch.targets:
                split, target_rows = len(labels), j + 1
        tensors = [torch.tensor(x, device=device) for x in (positions, labels, owner)]
        return _View(tensors[0], tensors[1], tensors[2], split, target_rows)


def _terms(
    logits: Tensor, reference: Tensor | None, *, view: _View, batch: _Batch, slot: Slot, objective: Objective
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return a slot's (weighted loss, plain loss) for the target and the retain term of one micro-batch.

    Each is scaled by the micro-batch's share of the step, so that their sum is the whole batch's mean.
    """
    t, found = slot.training, {}
    logp = -cross_entropy(logits.float(), view.labels, reduction="none")
    if view.split:
        target = (
            _target(logp[: view.split], reference, view=view)
            if objective.needs_reference
            else Target(logp[: view.split], logp[: view.split], None)
        )
        rows = view.target_rows / batch.targets
        share = rows if objective.unit == "sequence" else view.split / batch.target_tokens
        plain = objective.loss(target, float(t.get("beta", 0.0))) * share
        found["target"] = (t.get("forget_weight", 1.0) * plain, plain)
    kept = len(view.labels) - view.split
    if kept and t.get("retain", "none") != "none":
        share = kept / batch.retain_tokens
        if t["retain"] == "kl":
            if reference is None:
                raise StageError("the KL retain term needs the reference policy")
            tail = logits[view.split :].float().log_softmax(-1)
            plain = kl_to_reference(tail, reference[view.split :].float().log_softmax(-1)) * share
        else:
            plain = nll(logp[view.split :]) * share
        found["retain"] = (t["retain_weight"] * plain, plain)
    return found


def _target(logp: Tensor, reference: Tensor | None, *, view: _View) -> Target:
    owner, rows = view.owner[: view.split], view.target_rows
    sums = torch.zeros(rows, device=logp.device).index_add(0, owner, logp)
    if reference is None:
        return Target(logp, sums, None)
    ref = -cross_entropy(reference[: view.split].float(), view.labels[: view.split], reduction="none")
    return Target(logp, sums, torch.zeros(rows, device=logp.device).index_add(0, owner, ref))
