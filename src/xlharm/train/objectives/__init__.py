"""Objectives: tensors in, scalar out. Each file gives the formulas and their sources."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from xlharm.train.objectives.distillation import ceu, kl_to_reference, lingtea_retain, undial
from xlharm.train.objectives.gradient_ascent import gradient_ascent, satimp, wga
from xlharm.train.objectives.likelihood import nll
from xlharm.train.objectives.preference import dpo, npo, simnpo
from xlharm.train.objectives.representation import misdirection, stay

Need = Literal["logits", "hidden", "reference_logp", "reference_logits", "reference_hidden"]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What an objective sees of one slot's rows of one sort; what it did not ask for is None.

    Attributes:
        logp: log-probability of every target token under the model, [tokens].
        labels: the tokens, [tokens].
        owner: index of each token's row, [tokens].
        rows: number of rows.
        reference_logp: log-probabilities under the reference policy, [tokens].
        logits: [tokens, vocabulary], float32.
        reference_logits: the same under the reference policy.
        hidden: hidden states after the objective's layer, [tokens, width], float32.
        reference_hidden: the same under the reference policy.
        direction: RMU's c·u, [width].
        preferred: DPO's preferred answers, row by row.
    """

    logp: Tensor
    labels: Tensor
    owner: Tensor
    rows: int
    reference_logp: Tensor | None = None
    logits: Tensor | None = None
    reference_logits: Tensor | None = None
    hidden: Tensor | None = None
    reference_hidden: Tensor | None = None
    direction: Tensor | None = None
    preferred: "Seen | None" = None

    def by_row(self, values: Tensor) -> Tensor:
        """Sum token values over each row, [rows]."""
        return values.new_zeros(self.rows).index_add(0, self.owner, values)


Loss = Callable[[Seen, Mapping[str, Any]], Tensor]


@dataclass(frozen=True)
class Objective:
    """An objective and what the loop must give it.

    Attributes:
        loss: what it sees and the method's parameters in, scalar out.
        unit: what its mean runs over; micro-batches and ranks are weighted by their share of it.
        needs: fields of ``Seen`` that it reads beside log-probabilities.
        paired: whether every target row has a preferred answer beside it.
    """

    loss: Loss
    unit: Literal["token", "row"] = "token"
    needs: frozenset[Need] = frozenset()
    paired: bool = False

    @property
    def needs_reference(self) -> bool:
        """Whether the reference policy must run."""
        return any(need.startswith("reference") for need in self.needs)


def _given(value: Tensor | None) -> Tensor:
    assert value is not None, "the loop gives an objective what it needs"
    return value


def _npo(seen: Seen, p: Mapping[str, Any]) -> Tensor:
    return npo(seen.by_row(seen.logp), seen.by_row(_given(seen.reference_logp)), beta=p["beta"])


def _simnpo(seen: Seen, p: Mapping[str, Any]) -> Tensor:
    lengths = seen.by_row(seen.logp.new_ones(len(seen.logp)))
    return simnpo(seen.by_row(seen.logp) / lengths, beta=p["beta"], delta=p["delta"])


def _dpo(seen: Seen, p: Mapping[str, Any]) -> Tensor:
    other = seen.preferred
    assert other is not None
    return dpo(
        other.by_row(other.logp),
        other.by_row(_given(other.reference_logp)),
        seen.by_row(seen.logp),
        seen.by_row(_given(seen.reference_logp)),
        beta=p["beta"],
    )


def _undial(seen: Seen, p: Mapping[str, Any]) -> Tensor:
    return undial(_given(seen.logits), _given(seen.reference_logits), seen.labels, beta=p["beta"])


def _lingtea(seen: Seen, p: Mapping[str, Any]) -> Tensor:
    logits, reference = _given(seen.logits), _given(seen.reference_logits)
    return lingtea_retain(logits, reference, seen.labels, temperature=p.get("temperature", 1.0))


def _needs(*names: Need) -> frozenset[Need]:
    return frozenset(names)


_LEARN = Objective(lambda s, _: nll(s.logp))
_ASCEND = Objective(lambda s, _: gradient_ascent(s.logp))

OBJECTIVES: dict[str, Objective] = {
    "nll": _LEARN,
    "ga": _ASCEND,
    "graddiff": _ASCEND,  # 2203.12817: gradient ascent plus the retain term, which the loop adds
    "kl": _ASCEND,  # 2401.06121: the same with KL
    "lingtea": _ASCEND,  # 2406.12354: the same with the teacher's retain term
    "npo": Objective(_npo, unit="row", needs=_needs("reference_logp")),
    "simnpo": Objective(_simnpo, unit="row"),
    "dpo": Objective(_dpo, unit="row", needs=_needs("reference_logp"), paired=True),
    "idk": _LEARN,  # 2401.06121: its rows' answers are refusals
    "relabel": _LEARN,  # its rows say the real detail
    "rmu": Objective(lambda s, _: misdirection(_given(s.hidden), _given(s.direction)), needs=_needs("hidden")),
    "undial": Objective(_undial, needs=_needs("logits", "reference_logits")),
    "wga": Objective(lambda s, p: wga(s.logp, beta=p["beta"])),
    "satimp": Objective(lambda s, p: satimp(s.logp, beta1=p["beta1"], beta2=p["beta2"])),
    "ceu": Objective(lambda s, _: ceu(_given(s.logits), s.labels), needs=_needs("logits")),
}

RETAIN: dict[str, Objective] = {
    "nll": _LEARN,
    "kl": Objective(
        lambda s, _: kl_to_reference(_given(s.logits), _given(s.reference_logits)),
        needs=_needs("logits", "reference_logits"),
    ),
    "hidden": Objective(
        lambda s, _: stay(_given(s.hidden), _given(s.reference_hidden)), needs=_needs("hidden", "reference_hidden")
    ),
    "lingtea": Objective(_lingtea, needs=_needs("logits", "reference_logits")),
}
