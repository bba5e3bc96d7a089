"""What every method must satisfy: its loss is a mean, so micro-batches and ranks can share a batch."""

import subprocess
import sys

import pytest
import torch

from tests.methods.made import rows
from xlharm.config.unlearning import Unlearning
from xlharm.methods import METHODS
from xlharm.methods.base import EditMethod, LossMethod
from xlharm.methods.inputs import LossInputs, Objective
from xlharm.methods.retain import ToHidden, ToReference, ToTeacher, ToText

ALL = METHODS.all()
WITH_LOSS = {n: k(objective=n) for n, k in ALL.items() if issubclass(k, LossMethod)}
RETAIN: dict[str, Objective] = {t.__name__: t() for t in (ToText, ToReference, ToHidden, ToTeacher)}


@pytest.mark.parametrize("name", ALL)
def test_a_method_has_a_loss_or_edits(name: str) -> None:
    assert issubclass(ALL[name], LossMethod) != issubclass(ALL[name], EditMethod)
    assert bool(ALL[name].vectors) == issubclass(ALL[name], EditMethod)


@pytest.mark.parametrize("objective", [*WITH_LOSS.values(), *RETAIN.values()], ids=[*WITH_LOSS, *RETAIN])
def test_parts_weighted_by_their_share_make_the_whole(objective: Objective) -> None:
    whole = objective.loss(rows([0, 1, 2, 3]))
    parts = [(rows([0]), 1 / 4), (rows([1, 2, 3]), 3 / 4)]
    assert sum(float(objective.loss(x)) * share for x, share in parts) == pytest.approx(float(whole), rel=1e-9)


@pytest.mark.parametrize("objective", [*WITH_LOSS.values(), *RETAIN.values()], ids=[*WITH_LOSS, *RETAIN])
def test_a_loss_reads_only_what_it_names(objective: Objective) -> None:
    given = rows([0, 1, 2, 3])
    every = ("reference_logp", "logits", "reference_logits", "hidden", "reference_hidden")

    def only(x: LossInputs) -> LossInputs:
        needed = {f"optional_{n}": getattr(x, f"optional_{n}") for n in every if n in objective.needs}
        preferred = only(x.preferred) if x.preferred else None
        return LossInputs(logp=x.logp, labels=x.labels, owner=x.owner, rows=x.rows, preferred=preferred, **needed)

    assert float(objective.loss(only(given))) == float(objective.loss(given))


@pytest.mark.parametrize("name", [n for n, m in WITH_LOSS.items() if m.unit == "row" and n != "simnpo"])
def test_a_row_counts_once_however_long_it_is(name: str) -> None:
    """A row cut into more tokens of the same total is the same row."""
    long = rows([0, 1, 2, 3])
    short = LossInputs(
        logp=long.row_logp, labels=torch.arange(4), owner=torch.arange(4), rows=4,
        optional_reference_logp=long.reference_row_logp, preferred=long.preferred,
    )  # fmt: skip
    assert float(WITH_LOSS[name].loss(short)) == pytest.approx(float(WITH_LOSS[name].loss(long)))


def test_a_new_field_at_its_default_leaves_keys_alone() -> None:
    from xlharm.config.training import key_settings

    class Before(Unlearning):
        beta: float = 1.0

    class After(Before):
        added = frozenset({"smoothing"})
        smoothing: float = 0.0

    before = Before(objective="x")
    assert key_settings(After(objective="x")) == key_settings(before)
    assert key_settings(After(objective="x", smoothing=0.5)) == {**key_settings(before), "smoothing": 0.5}


def test_methods_are_known_without_torch() -> None:
    code = "import sys; from xlharm.methods import METHODS; METHODS.all(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
