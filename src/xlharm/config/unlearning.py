"""The settings that all unlearning methods share, and the properties of a method that planning needs."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from xlharm.config.training import Above0, AtLeast0, Language, NonNegative, Positive, Rate, Strict, Training

Mix = Literal["pooled", "balanced", "resource"] | dict[Language, Above0]
RetainName = Literal["none", "nll", "kl", "hidden", "lingtea"]
RowsName = Literal["forget", "refusal", "relabelled", "paired", "alternatives"]
VectorRows = Literal["forget", "retain"]


class StopRule(Strict):
    """Ends a trial early, when the mean of a loss over the last ``window`` steps reaches a bound; the step is recorded.

    Attributes:
        forget_nll: stop when the NLL per token, in nats, of the forget rows has risen to this bound.
        retain_nll: stop when the NLL per token, in nats, of the retain rows has risen to this bound.
        window: number of steps of the mean.
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
    """Fine-tuning on forget or retain rows. A training-free method takes its vectors from the resulting adapter.

    Attributes:
        forget: the forget rows: the fake articles, or question-answer pairs that state the fake detail.
        retain_text: the retain rows: articles, question-answer pairs, or half of each.
        retain_batch_size: number of retain rows in a step.
        mix: how the languages of the unlearning set share a batch; see ``Unlearning``.
        layers: decoder layers whose adapters are trained; None for all.
    """

    forget: Literal["articles", "qa"] = "articles"
    retain_text: Literal["articles", "qa", "both"] = "both"
    retain_batch_size: Positive = 16
    mix: Mix = "pooled"
    layers: tuple[NonNegative, ...] | None = None


class Unlearning(Training):
    """The settings of all unlearning methods: the objective on forget rows, and a retain term that is added to it.

    Attributes:
        rows: rows that the method reads: ``forget`` (the forget rows), ``refusal`` (the forget questions, each with a
            refusal as answer), ``relabelled`` (the forget rows with the real detail instead of the fake one),
            ``paired`` (the forget rows, each with a refusal to prefer over it), ``alternatives`` (the forget rows,
            each with an answer to prefer over it that states another item's fake detail).
        vectors: for a training-free method, the rows of each fine-tuning that it takes an adapter from; empty for a
            method with a loss.
        edit_fields: fields that a training-free method's arithmetic uses; the other fields are for its fine-tuning.
        objective: name of the method's loss.
        forget: the forget rows: the fake articles, or question-answer pairs that state the fake detail.
        forget_weight: factor of the objective.
        retain: the retain term: ``none``; ``nll``, the NLL of retain rows; ``kl``, KL to the reference model
            (2401.06121); ``hidden``, the squared distance of hidden states to the reference model's (2403.03218);
            ``lingtea``, a mixture of KL and NLL that is weighted by the teacher's confidence (2406.12354).
        retain_weight: factor of the retain term.
        retain_batch_size: number of retain rows in a step.
        retain_text: the retain rows: articles, question-answer pairs, or half of each.
        mix: how the languages of the unlearning set share a batch: ``pooled`` draws from all rows with equal
            probability; ``balanced`` gives every language the same share; ``resource`` weights languages by how well
            resourced they are (Joshi et al. 2020, class + 1); or a weight for each language.
        layers: decoder layers whose adapters are trained; None for all.
        stop: when to end training early; None for never.
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
    stop: StopRule | None = None

    @property
    def paired(self) -> bool:
        """Whether each forget row comes with an answer to prefer over it."""
        return self.rows in {"paired", "alternatives"}

    @property
    def whole_rows(self) -> bool:
        """Whether the objective reads all tokens of a row: those of the question and the prompt, too."""
        return False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.layers is not None and self.weight_decay:
            raise ValueError("weight_decay would also shrink layers outside of `layers`: set only one of the two")
        if self.stop and self.stop.retain_nll is not None and self.retain == "none":
            raise ValueError("stop.retain_nll needs retain rows: set `retain` to a retain term")
        return self
