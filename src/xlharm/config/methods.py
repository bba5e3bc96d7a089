"""Unlearning methods: one class an objective, its parameters with the published defaults.

Rates and steps depend on the base and are not published for LoRA packs; the other defaults are from the paper
that each class names.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xlharm.config.training import Above0, AtLeast0, Language, NonNegative, Positive, Rate, Strict, Training

Mix = Literal["pooled", "balanced", "resource"] | dict[Language, Above0]


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


class Unlearning(Training):
    """What all methods have: forget rows, and a retain term that is added to the objective.

    Attributes:
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

    steps: Positive = 40
    learning_rate: Rate = 1e-4
    forget: Literal["articles", "qa"] = "articles"
    forget_weight: AtLeast0 = 1.0
    retain: Literal["none", "nll", "kl", "hidden", "lingtea"] = "none"
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


class Ga(Unlearning):
    """Gradient ascent (2210.01504), the released code of 2406.13748."""

    objective: Literal["ga"]


class GradDiff(Unlearning):
    """Gradient difference (2203.12817): gradient ascent plus a retain term."""

    objective: Literal["graddiff"]
    retain: Literal["nll", "kl", "hidden", "lingtea"] = "nll"


class Kl(Unlearning):
    """Gradient ascent plus KL to the model before unlearning on retain rows (2401.06121)."""

    objective: Literal["kl"]
    retain: Literal["kl"] = "kl"


class Npo(Unlearning):
    """Negative preference optimisation (2404.05868: β 0.1)."""

    objective: Literal["npo"]
    beta: Above0 = 0.1


class SimNpo(Unlearning):
    """NPO without a reference, length-normalised (2410.07163: β 2.5 on TOFU forget05, margin 0, γ 0.1375)."""

    objective: Literal["simnpo"]
    beta: Above0 = 2.5
    delta: float = 0.0
    forget_weight: AtLeast0 = 0.1375
    retain: Literal["none", "nll", "kl", "hidden", "lingtea"] = "nll"


class Dpo(Unlearning):
    """Preference of a refusal over the fake answer (2305.18290; as unlearning 2401.06121: β 0.1)."""

    objective: Literal["dpo"]
    forget: Literal["qa"] = "qa"
    beta: Above0 = 0.1


class Idk(Unlearning):
    """Learn to answer the forget questions with a refusal in their language (2401.06121)."""

    objective: Literal["idk"]
    forget: Literal["qa"] = "qa"
    retain: Literal["none", "nll", "kl", "hidden", "lingtea"] = "nll"


class Rmu(Unlearning):
    """Representation misdirection (2403.03218, Zephyr-7B: layer 7 of 32, c 6.5, α 1200).

    Attributes:
        layer: hidden states after this decoder layer; None is 7/32 of the depth.
        coefficient: length c of the random direction.
    """

    objective: Literal["rmu"]
    layer: NonNegative | None = None
    coefficient: Above0 = 6.5
    retain: Literal["none", "nll", "kl", "hidden", "lingtea"] = "hidden"
    retain_weight: AtLeast0 = 1200.0


class Undial(Unlearning):
    """Self-distillation from logits with the true token's lowered (2402.10052: β 10, rate 1e-4)."""

    objective: Literal["undial"]
    beta: AtLeast0 = 10.0


class Wga(Unlearning):
    """Gradient ascent weighted by the token's probability (2502.19301: β 1)."""

    objective: Literal["wga"]
    beta: AtLeast0 = 1.0


class SatImp(Unlearning):
    """Gradient ascent weighted by saturation and importance (2505.11953: β1 5, β2 1)."""

    objective: Literal["satimp"]
    beta1: AtLeast0 = 5.0
    beta2: AtLeast0 = 1.0


class Ceu(Unlearning):
    """Cross-entropy to the model's own distribution without the true token (2503.01224)."""

    objective: Literal["ceu"]


class LingTea(Unlearning):
    """Gradient ascent, and retain rows learnt from the teacher as far as it knows them (2406.12354: T 1)."""

    objective: Literal["lingtea"]
    retain: Literal["lingtea"] = "lingtea"
    temperature: Above0 = 1.0


class Relabel(Unlearning):
    """Learn the real detail in the place of the fake one, in the set's languages (counter-fact)."""

    objective: Literal["relabel"]


class TaskVector(Unlearning):
    """Negated task vector (2212.04089): fine-tune on the forget rows, then step away from that by α.

    Rate and steps are the fine-tuning's; the arithmetic itself is exact on the adapters' products, then cut to
    the adapter's rank (the share that is lost is recorded).
    """

    objective: Literal["task_vector"]
    alpha: AtLeast0 = 1.0
    retain: Literal["none"] = "none"
    stop: None = None


class Subspace(Unlearning):
    """Project the forget subspace out of the adapter, kept rows' subspace spared (2408.04140, 2601.06675).

    Attributes:
        dimensions: size of the forget subspace in each layer.
        kept_dimensions: size of the subspace of the retain rows that is spared.
    """

    objective: Literal["subspace"]
    dimensions: Positive = 4
    kept_dimensions: Positive = 4
    retain: Literal["none"] = "none"
    stop: None = None


Method = Annotated[
    Ga | GradDiff | Kl | Npo | SimNpo | Dpo | Idk | Rmu | Undial | Wga | SatImp | Ceu | LingTea | Relabel | TaskVector
    | Subspace,
    Field(discriminator="objective"),
]  # fmt: skip
