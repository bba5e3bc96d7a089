"""The loss of a trial: γ · objective on the target rows + α · retain term on the retain rows."""

from dataclasses import dataclass

from torch import Tensor

from xlharm.config.unlearning import StopRule
from xlharm.methods.base import LossMethod
from xlharm.methods.inputs import LossInputs, Need, Objective
from xlharm.methods.retain import ToText
from xlharm.train.batches import Batch, LossTokens
from xlharm.train.forward import Output, Request

CURVES = ("target", "retain", "forget_nll", "retain_nll")
_NLL = {"target": "forget_nll", "retain": "retain_nll"}


@dataclass(frozen=True, kw_only=True)
class LossTerms:
    """The terms of a trial's loss.

    Attributes:
        objective: the loss on the target rows.
        weight: γ, the factor of the objective.
        retain: the retain term, the loss on the retain rows; None for none.
        retain_weight: α, the factor of the retain term.
        method: the unlearning method that these terms belong to; None for fine-tuning.
        stop: when to end the trial early; None runs all steps.
        seed: the trial's seed.
    """

    objective: Objective
    weight: float = 1.0
    retain: Objective | None = None
    retain_weight: float = 1.0
    method: LossMethod | None = None
    stop: StopRule | None = None
    seed: int = 0

    @staticmethod
    def of_method(method: LossMethod, *, seed: int) -> "LossTerms":
        """Return the terms of an unlearning method."""
        return LossTerms(
            objective=method,
            weight=method.forget_weight,
            retain=method.retain_term(),
            retain_weight=method.retain_weight,
            method=method,
            stop=method.stop,
            seed=seed,
        )

    @property
    def parts(self) -> dict[str, tuple[Objective, float]]:
        """Return the terms with their weights, by the rows that they use (``target``, ``retain``)."""
        terms = {"target": (self.objective, self.weight)}
        if self.retain is not None:
            terms["retain"] = (self.retain, self.retain_weight)
        return terms

    @property
    def needs(self) -> frozenset[Need]:
        """Return everything that the terms need from the forward passes."""
        return frozenset(need for objective, _ in self.parts.values() for need in objective.needs)

    @property
    def needs_reference(self) -> bool:
        """Whether the reference model must run."""
        return any(need.startswith("reference") for need in self.needs)

    @property
    def retain_needs_reference(self) -> bool:
        """Whether the reference model must run on the retain rows, too."""
        return self.retain is not None and any(need.startswith("reference") for need in self.retain.needs)

    def hidden_layer(self, depth: int) -> int | None:
        """Return the decoder layer whose hidden states the terms read; None if they read none.

        Args:
            depth: number of decoder layers of the base model.
        """
        reads = self.method is not None and any(need.endswith("hidden") for need in self.needs)
        return self.method.hidden_layer(depth) if self.method is not None and reads else None

    def next_retain_weight(self, weight: float | Tensor, loss: Tensor) -> float | Tensor:
        """Return α for the next step, from this step's and the retain term's loss in it (see ``LossMethod``)."""
        return weight if self.method is None else self.method.next_retain_weight(weight, loss)

    def request(self, view: LossTokens, *, layer: int | None, reference: bool, stop: int | None = None) -> Request:
        """Return what the terms need from a forward pass of the model, or of the reference model.

        Args:
            view: positions of the loss tokens.
            layer: decoder layer whose hidden states the terms read.
            reference: whether the forward pass is the reference model's.
            stop: number of loss tokens to include; None includes all.
        """
        prefix = "reference_" if reference else ""
        stop = len(view.labels) if stop is None else stop
        needs = {name: objective.needs for name, (objective, _) in self.parts.items()}
        wide = [view.spans[n] for n, names in needs.items() if f"{prefix}logits" in names and n in view.spans]
        wide = [span for span in wide if span.stop <= stop]
        hidden = any(f"{prefix}hidden" in names for names in needs.values())
        return Request(
            positions=view.positions[:stop],
            labels=view.labels[:stop],
            full=(min(s.start for s in wide), max(s.stop for s in wide)) if wide else (0, 0),
            layer=layer if hidden else None,
        )

    def values(
        self,
        model: Output,
        reference: Output | None,
        *,
        view: LossTokens,
        batch: Batch,
        retain_weight: float | Tensor | None = None,
    ) -> list["Term"]:
        """Return the loss terms of one micro-batch, and the NLL of the same rows.

        Each value is scaled by the micro-batch's share of ``batch``, so that the sum over micro-batches is the mean
        over the batch.

        Args:
            model: forward pass of the model.
            reference: forward pass of the reference model; None if no term needs it.
            view: positions of the micro-batch's loss tokens.
            batch: the global batch.
            retain_weight: α in this step, for a method that changes it; None for the terms' own.
        """
        terms = []
        for part, (objective, own_weight) in self.parts.items():
            weight = retain_weight if part == "retain" and retain_weight is not None else own_weight
            if part in view.spans:
                span = view.spans[part]
                inputs = self._inputs(part, model, reference, view=view, batch=batch)
                tokens = (span.stop - span.start) / batch.tokens_of(part)
                share = span.rows / len(batch.part(part)) if objective.unit == "row" else tokens
                terms.append(Term(part, weight, objective.loss(inputs) * share))
                terms.append(Term(_NLL[part], 0.0, -inputs.logp.detach().mean() * tokens))
        return terms

    def _inputs(
        self, part: str, model: Output, reference: Output | None, *, view: LossTokens, batch: Batch
    ) -> LossInputs:
        span = view.spans[part]
        tokens = slice(span.start, span.stop)
        preferred = None
        if part == "target" and "preferred" in view.spans:
            preferred = self._inputs("preferred", model, reference, view=view, batch=batch)
        span_reference = reference if reference and len(reference.logp) >= span.stop else None
        return LossInputs(
            logp=model.logp[tokens],
            labels=view.labels[tokens],
            owner=view.owner[tokens],
            rows=span.rows,
            seed=self.seed,
            batch_lengths=tuple(len(row.labels) for row in batch.part(part)),
            preferred=preferred,
            optional_reference_logp=span_reference.logp[tokens] if span_reference else None,
            optional_logits=model.logits_of(span.start, span.stop),
            optional_reference_logits=span_reference.logits_of(span.start, span.stop) if span_reference else None,
            optional_hidden=model.hidden[tokens] if model.hidden is not None else None,
            optional_reference_hidden=span_reference.hidden[tokens]
            if span_reference and span_reference.hidden is not None
            else None,
        )


FINE_TUNING = LossTerms(objective=ToText())
"""Plain fine-tuning: the NLL of the target rows."""


@dataclass(frozen=True)
class Term:
    """The value of one curve for the rows of a micro-batch.

    Attributes:
        curve: one of ``CURVES``.
        weight: factor of the value in the loss; 0 for a curve that is only recorded.
        value: a scalar.
    """

    curve: str
    weight: float | Tensor
    value: Tensor
