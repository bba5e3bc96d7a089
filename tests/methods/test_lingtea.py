from dataclasses import replace

import torch

from tests.methods.made import gradient, label_logp, rows, some_logits, tokens
from xlharm.methods.lingtea import LingTea
from xlharm.methods.retain import ToReference, ToTeacher


def test_its_objective_is_gradient_ascent() -> None:
    logits = some_logits()
    mine = gradient(LingTea(objective="lingtea").loss(tokens(label_logp(logits))), logits)
    torch.testing.assert_close(mine, gradient(label_logp(logits).mean(), logits))


def test_its_retain_term_is_the_teacher_at_its_temperature() -> None:
    assert LingTea(objective="lingtea", temperature=2).retain_term() == ToTeacher(temperature=2.0)


def test_published_sums_the_distillation_over_a_row() -> None:
    """Two rows of two tokens each: the distillation counts twice, the text's NLL once."""
    x = rows([0, 1])
    mean = LingTea(objective="lingtea").retain_term()
    published = LingTea(objective="lingtea", normalisation="published").retain_term()
    assert isinstance(mean, ToTeacher)
    assert isinstance(published, ToTeacher)
    sure, unsure = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    torch.testing.assert_close(published.mixture(x, confidence=sure), 2 * mean.mixture(x, confidence=sure))
    torch.testing.assert_close(published.mixture(x, confidence=unsure), mean.mixture(x, confidence=unsure))
    torch.testing.assert_close(published.mixture(x, confidence=sure), ToReference().loss(x) * 4 / 2)


def test_published_does_not_depend_on_micro_batches() -> None:
    """Rows of 3 and 1 tokens apart, each weighted by its share of the tokens."""
    published, whole = ToTeacher(by_row=True), replace(rows([0, 1]), owner=torch.tensor([0, 0, 0, 1]))
    total = 0.0
    for some, share in ((slice(0, 3), 3 / 4), (slice(3, 4), 1 / 4)):
        part = replace(
            whole, labels=whole.labels[some], optional_logits=whole.logits[some],
            optional_reference_logits=whole.reference_logits[some], batch_lengths=(3, 1),
        )  # fmt: skip
        total += published.loss(part).item() * share
    torch.testing.assert_close(total, published.loss(whole).item())
