"""What every unlearning method has: the settings that a grid file may give, and what planning must know of it."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from xlharm.config.training import Above0, AtLeast0, Language, NonNegative, Positive, Rate, Strict, Training

Mix = Literal["pooled", "balanced", "resource"] | dict[Language, Above0]
RetainName = Literal["none", "nll", "kl", "hidden", "lingtea"]
RowsName = Literal["forget", "refusal", "relabelled", "paired"]
VectorRows = Literal["forget", "retain"]


class Stop(Strict):
    """End a trial early, once the mean of the last ``window`` steps crosses a bound (the step is recorded).

    Attributes:
        forget_nll: stop when the forget rows' NLL per token has risen to this: they are forgotten.
        retain_nll: stop when the retain rows' NLL per token has risen to this: utility is going.
    """

    forget_nll: Above0 | None = None
    retain_nll: Above0 | None = None
    window: Positive = 3

    @model_validator(mode="after")
    def _a_bound(self) -> Self:
        if self.forget_nll is None and self.retain_nll is None:
            raise ValueError("give `forget_nll`, `retain_nll` or both")
        return self


class FineTune(Training):
    """Training on forget or retain rows, whose result a training-free method takes its vectors from.

    Attributes:
        forget: of forget rows: the fake articles, or question-answer pairs that state the fake detail.
        retain_text: of retain rows: articles, question-answer pairs, or half of each.
        retain_batch_size: of retain rows: how many a step has.
        mix: how the set's languages share a batch; see ``Unlearning``.
        layers: decoder layers whose adapters are trained; all by default.
    """

    forget: Literal["articles", "qa"] = "articles"
    retain_text: Literal["articles", "qa", "both"] = "both"
    retain_batch_size: Positive = 16
    mix: Mix = "pooled"
    layers: tuple[NonNegative, ...] | None = None


class Unlearning(Training):
    """What all methods have: forget rows, and a retain term that is added to the objective.

    Attributes:
        rows: which rows the method reads: ``forget`` (what is to be unlearned), ``refusal`` (the forget questions
            with a refusal), ``relabelled`` (the forget rows with the real detail), ``paired`` (forget rows, each with
            a refusal beside it).
        vectors: rows that a training-free method is fine-tuned on first, one adapter each; empty for a method with a
            loss.
        edit_fields: settings of a training-free method's arithmetic; the others are its fine-tuning's.
        forget: unlearn the fake articles, or question-answer pairs that state the fake detail.
        forget_weight: factor on the objective.
        retain: the retain term: none; NLL of retain rows; KL to the model before unlearning (2401.06121);
            ``hidden``, squared distance of hidden states to that model's (2403.03218); ``lingtea``, the
            teacher-weighted mixture of KL and NLL (2406.12354).
        mix: how the set's languages share a batch: ``pooled`` draws from all rows alike; ``balanced`` gives
            every language the same share; ``resource`` weights by how well resourced a language is (Joshi et
            al. 2020, class + 1); or a weight for each language.
        layers: decoder layers whose adapters are trained; all by default.
        stop: early stopping.
    """

    rows: ClassVar[RowsName] = "forget"
    vectors: ClassVar[tuple[VectorRows, ...]] = ()
    edit_fields: ClassVar[tuple[str, ...]] = ()

    objective: str
    steps: Positive = 40
    learning_rate: Rate = 1e-4
    forget: Literal["articles", "qa"] = "articles"
    forget_weight: AtLeast0 = 1.0
    retain: RetainName = "none"
    retain_weight: AtLeast0 = 1.0
    retain_batch_size: Positive = 16
    retain_text: Literal["articles", "qa", "both"] = "both"
    mix: Mix = "pooled"
    layers: tuple[NonNegative, ...] | None = None
    stop: Stop | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.layers is not None and self.weight_decay:
            raise ValueError("weight_decay would shrink layers outside of `layers`: use one or the other")
        if self.stop and self.stop.retain_nll is not None and self.retain == "none":
            raise ValueError("stop.retain_nll needs a retain term to measure: set `retain`")
        return self
