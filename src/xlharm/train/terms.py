"""From a slot's forward to the terms of its loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xlharm.train.batches import Batch, View
from xlharm.train.forward import Ask, Told
from xlharm.train.objectives import OBJECTIVES, RETAIN, Need, Objective, Seen

CURVES = ("target", "retain", "forget_nll", "retain_nll")
_NLL = {"target": "forget_nll", "retain": "retain_nll"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a trial's loss is made of: γ · objective + α · retain term.

    Attributes:
        objective: name in ``OBJECTIVES``.
        retain: name in ``RETAIN``, or `none`.
        parameters: the method's settings.
        layer: decoder layer whose hidden states its terms read.
        direction: RMU's c·u, [width].
    """

    objective: str
    retain: str
    parameters: Mapping[str, Any]
    layer: int | None = None
    direction: Tensor | None = None

    @property
    def parts(self) -> dict[str, tuple[Objective, float]]:
        """Return the terms by the rows they are on, with their weights."""
        found = {"target": (OBJECTIVES[self.objective], float(self.parameters.get("forget_weight", 1.0)))}
        if self.retain != "none":
            found["retain"] = (RETAIN[self.retain], float(self.parameters["retain_weight"]))
        return found

    @property
    def needs(self) -> frozenset[Need]:
        """Return all that its terms read."""
        return frozenset(need for objective, _ in self.parts.values() for need in objective.needs)

    @property
    def retain_needs_reference(self) -> bool:
        """Whether the reference policy must see the retain rows."""
        return self.retain != "none" and RETAIN[self.retain].needs_reference

    def ask(self, view: View, *, reference: bool, stop: int | None = None) -> Ask:
        """Ask a forward (the model's, or the reference policy's) for what the terms read.

        Args:
            view: the rows.
            reference: whether it is the reference policy's.
            stop: leave out the tokens from here on.
        """
        prefix = "reference_" if reference else ""
        stop = len(view.labels) if stop is None else stop
        needs = {name: objective.needs for name, (objective, _) in self.parts.items()}
        wide = [view.spans[n] for n, found in needs.items() if f"{prefix}logits" in found and n in view.spans]
        wide = [span for span in wide if span.stop <= stop]
        hidden = any(f"{prefix}hidden" in found for found in needs.values())
        return Ask(
            positions=view.positions[:stop],
            labels=view.labels[:stop],
            full=(min(s.start for s in wide), max(s.stop for s in wide)) if wide else (0, 0),
            layer=self.layer if hidden else None,
        )

    def terms(self, model: "Heard", reference: "Heard | None", *, view: View, batch: Batch) -> list["Term"]:
        """Return the loss terms of some rows of ``batch``, and the NLL of the same rows.

        Each value is scaled by the rows' share of the batch, so that the sum over micro-batches is the batch's mean.
        """
        found = []
        for part, (objective, weight) in self.parts.items():
            if part in view.spans:
                span = view.spans[part]
                seen = self._seen(part, model, reference, view=view)
                tokens = (span.stop - span.start) / batch.tokens_of(part)
                share = span.rows / len(batch.part(part)) if objective.unit == "row" else tokens
                found.append(Term(part, weight, objective.loss(seen, self.parameters) * share))
                found.append(Term(_NLL[part], 0.0, -seen.logp.detach().mean() * tokens))
        return found

    def _seen(self, part: str, model: "Heard", reference: "Heard | None", *, view: View) -> Seen:
        span = view.spans[part]
        tokens = slice(span.start, span.stop)
        preferred = None
        if part == "target" and "preferred" in view.spans:
            preferred = self._seen("preferred", model, reference, view=view)
        kept = reference if reference and len(reference.told.logp) >= span.stop else None
        return Seen(
            logp=model.told.logp[tokens],
            labels=view.labels[tokens],
            owner=view.owner[tokens],
            rows=span.rows,
            reference_logp=kept.told.logp[tokens] if kept else None,
            logits=model.logits(span.start, span.stop),
            reference_logits=kept.logits(span.start, span.stop) if kept else None,
            hidden=model.told.hidden[tokens] if model.told.hidden is not None else None,
            reference_hidden=kept.told.hidden[tokens] if kept and kept.told.hidden is not None else None,
            direction=self.direction,
            preferred=preferred,
        )


@dataclass(frozen=True)
class Term:
    """One curve's value for some rows, and its weight in the loss."""

    curve: str
    weight: float
    value: Tensor


@dataclass(frozen=True)
class Heard:
    """A forward's answer beside what it was asked."""

    ask: Ask
    told: Told

    def logits(self, start: int, stop: int) -> Tensor | None:
        """Return the full logits of some tokens, None when they were not asked for."""
        begin, end = self.ask.full
        return self.told.logits[start - begin : stop - begin] if begin <= start and stop <= end and end else None
