"""Grid entries of all probes, and a pack of models with random adapters on a mini base and two questions."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xlharm.config.grid import Prompt
from xlharm.corpus.format import Item, load_language
from xlharm.evaluate.asking import Asking
from xlharm.evaluate.inspecting import Inspecting
from xlharm.model.base import load_base
from xlharm.model.layout import layout_of
from xlharm.model.lora import StackedModel
from xlharm.model.tokenizer import load_tokenizer
from xlharm.plan.base_files import folder_base
from xlharm.plan.families import Path as ModelPath
from xlharm.probes import PROBES

ITEM = {
    "id": "x", "role": "fake", "real": ["R"], "fake": ["F"], "fake_detail": ["blue"], "real_detail": ["red"],
    "of": ["Which colour does Kabo like?"], "qr": [],
}  # fmt: skip
OTHER = {
    "id": "y", "role": "real", "real": ["R"],
    "qr": [{"question": "What is the colour of Lodu, now?", "answers": ["red"]}],
}  # fmt: skip


def examples() -> dict[str, dict[str, Any]]:
    """Return a grid's entry for every probe there is, each from the test of its name."""
    modules = (kind.__module__.rpartition(".")[-1] for kind in PROBES.all().values())
    entries = (import_module(f"tests.probes.test_{module}").EXAMPLE for module in modules)
    return {name: settings for entry in entries for name, settings in entry.items()}


def asking_of(
    base: Path,
    *,
    adapters: int,
    active: Sequence[bool] | None = None,
    before: Callable[[Tensor], Tensor] = lambda adapters: adapters,
) -> Asking:
    """Return models about to answer.

    Args:
        base: folder.
        adapters: how many models.
        active: all, unless said otherwise.
        before: makes the adapters before unlearning from the models' own.
    """
    source = folder_base(base)
    model = load_base(source, dtype="float32", device=torch.device("cpu"))
    layout = layout_of(model, rank=2, alpha=4, targets=["q_proj", "down_proj"])
    stacks = torch.randn(adapters, layout.size, generator=torch.Generator().manual_seed(0))
    return Asking(
        stacked=StackedModel(model, layout),
        tokenizer=load_tokenizer(source),
        prompt=Prompt(),
        language="en",
        items=[Item.model_validate(ITEM), Item.model_validate(OTHER)],
        limit=5,
        max_new_tokens=6,
        rows=64,
        adapters=stacks,
        active=active or (True,) * adapters,
        parents=lambda number: (stacks, before(stacks))[number],
    )


def inspecting_of(
    base: Path,
    corpus: Path,
    *,
    languages: Sequence[str] = ("en",),
    models: int = 1,
    slots: int = 4,
    path: ModelPath = "fast",
    targets: Sequence[str] = ("q_proj", "down_proj"),
) -> Inspecting:
    """Return a model that a probe looks inside, with random adapters.

    Args:
        base: folder.
        corpus: folder.
        languages: of the questions.
        models: how many adapters.
        slots: most adapters of a batch.
        path: how the base runs.
        targets: modules with adapters.
    """
    source = folder_base(base)
    model = load_base(source, dtype="float32", device=torch.device("cpu"))
    layout = layout_of(model, rank=2, alpha=4, targets=targets)
    return Inspecting(
        stacked=StackedModel(model, layout, path=path),
        tokenizer=load_tokenizer(source),
        prompt=Prompt(),
        languages=tuple(languages),
        load=lambda language: load_language(corpus, language),
        limit=9,
        longest=256,
        max_new_tokens=6,
        matching=None,
        rows=64,
        texts=64,
        slots=slots,
        adapters=tuple(torch.randn(models, layout.size, generator=torch.Generator().manual_seed(0))),
        check=lambda _: None,
    )
