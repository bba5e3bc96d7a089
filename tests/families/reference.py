"""What xlharm computes with a base, compared with transformers' own forward and plain LoRA layers."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D

from xlharm.corpus.rows import Row
from xlharm.evaluate.generate import generate
from xlharm.evaluate.likelihood import likelihoods
from xlharm.model.layout import Layout
from xlharm.model.lora import AdapterPool, StackedModel
from xlharm.model.text import auto_class
from xlharm.train.forward import PackModel, Request

Ids = tuple[int, ...]
LONG = 40
NEW = 6
LENGTHS = ((23, 6), (LONG, 3, 11))
PROMPTS = (6, 2, 9, 23)


def rows_of(seed: int, lengths: tuple[int, ...], vocabulary: int = 500) -> list[Ids]:
    generator = torch.Generator().manual_seed(seed)
    return [tuple(torch.randint(3, vocabulary, (n,), generator=generator).tolist()) for n in lengths]


def adapters(layout: Layout, count: int) -> Tensor:
    return torch.randn(count, layout.size, generator=torch.Generator().manual_seed(1)) * 0.1


class PlainLora(nn.Module):
    """A linear layer with the weight W + s·BA."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.delta: Tensor | None = None

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.linear.weight
        if self.delta is None:
            return weight
        return weight + (self.delta.T if isinstance(self.linear, Conv1D) else self.delta).to(weight.dtype)

    @property
    def bias(self) -> Any:
        return self.linear.bias

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        return y if self.delta is None else y + nn.functional.linear(x, self.delta.to(x.dtype))


class PlainStack(nn.Module):
    """Stacked experts with the weights W + s·BA, in the place of the parameter W."""

    delta: Tensor | None = None

    def forward(self, weight: Tensor) -> Tensor:
        return weight if self.delta is None else weight + self.delta.to(weight.dtype)


class Reference:
    """transformers' own model with one adapter at a time."""

    def __init__(self, folder: Path, layout: Layout, *, dtype: torch.dtype) -> None:
        auto = auto_class(AutoConfig.from_pretrained(folder))
        self.model: Any = auto.from_pretrained(folder, dtype=dtype).eval()
        self.model.requires_grad_(requires_grad=False)
        self.layout, self.layers = layout, list[Any]()
        for segment in layout.segments:
            path, _, leaf = segment.name.rpartition(".")
            if segment.experts:
                stack = PlainStack()
                register_parametrization(self.model.get_submodule(self._name(path)), leaf, stack)
                self.layers.append(stack)
                continue
            name = self._name(segment.name)
            parent, _, leaf = name.rpartition(".")
            layer = PlainLora(self.model.get_submodule(name))
            setattr(self.model.get_submodule(parent), leaf, layer)
            self.layers.append(layer)

    def _name(self, name: str) -> str:
        """Return a layer's name in the whole model, of which xlharm may have taken the part that reads text."""
        modules = dict(self.model.named_modules())
        if name in modules:
            return name
        body = next(n for n, m in modules.items() if m is self.model.get_decoder())
        return f"{body}.{name.split('.', 1)[1]}"

    def use(self, adapter: Tensor) -> None:
        rank, scale = self.layout.rank, self.layout.scale
        for layer, s in zip(self.layers, self.layout.segments, strict=True):
            count = max(1, s.experts)
            middle = s.offset + count * rank * s.fan_in
            a = adapter[s.offset : middle].view(count, rank, s.fan_in)
            b = adapter[middle : middle + count * rank * s.fan_out].view(count, s.fan_out, rank)
            delta = scale * (b @ a)
            layer.delta = (delta.mT if s.transposed else delta) if s.experts else delta[0]

    def logits(self, adapter: Tensor, ids: Ids) -> Tensor:
        self.use(adapter)
        return self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()  # type: ignore[no-any-return] # transformers

    def logp(self, adapter: Tensor, ids: Ids) -> Tensor:
        logp = self.logits(adapter, ids)[:-1].log_softmax(-1)
        return logp.gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]


def differences(stacked: StackedModel, folder: Path) -> str:
    """Return the first thing that is not as in the reference; an empty text if everything is."""
    exact = Reference(folder, stacked.layout, dtype=torch.float32)
    values = adapters(stacked.layout, 2)
    if stacked.dtype == torch.float32:
        return (
            _gradients(stacked, exact, values)
            or _likelihoods(stacked, exact, values)
            or _answers(stacked, exact, values)
        )
    own = Reference(folder, stacked.layout, dtype=stacked.dtype)
    return _likelihoods(stacked, exact, values, own=own) or _answers(stacked, exact, values, own=own)


def _gradients(stacked: StackedModel, exact: Reference, values: Tensor) -> str:
    groups = [rows_of(k, lengths) for k, lengths in enumerate(LENGTHS)]
    pool = AdapterPool(slots=2, size=stacked.layout.size, device=torch.device("cpu"))
    requests = []
    for slot, value, rows in zip(pool.slots, values, groups, strict=True):
        slot.data.copy_(value)
        places, labels, at = [], [], 0
        for row in rows:
            places += range(at, at + len(row) - 1)
            labels += row[1:]
            at += len(row)
        requests.append(Request(positions=torch.tensor(places), labels=torch.tensor(labels)))
    results = PackModel(stacked, pool)(stacked.rows(groups), requests, [None, None])
    torch.stack([logp.mean() for logp, _, _ in results]).sum().backward()
    for k, rows in enumerate(groups):
        alone = values[k].clone().requires_grad_()
        logp = torch.cat([exact.logp(alone, row) for row in rows])
        logp.mean().backward()
        if (apart := _apart(results[k][0], logp)) > 5e-3:
            return f"log-probabilities of slot {k} are off by {apart:.1e}"
        grad, true = pool.slots[k].grad, alone.grad
        assert grad is not None
        assert true is not None
        if not (apart := float((grad - true).norm() / true.norm())) < 1e-2:
            return f"gradients of slot {k} are off by {apart:.1%}"
    return ""


@torch.no_grad()
def _likelihoods(stacked: StackedModel, exact: Reference, values: Tensor, *, own: Reference | None = None) -> str:
    rows = rows_of(3, (6, 2, 9, 23, LONG))
    scored = likelihoods(stacked, values, [Row(row, 1) for row in rows], batch=6)
    apart, usual = [], []
    for k, value in enumerate(values):
        for row, likelihood in zip(rows, scored[k], strict=True):
            true = exact.logp(value, row)
            apart.append((torch.tensor(likelihood.logp) - true).abs())
            if own is not None:
                usual.append((own.logp(value, row) - true).abs())
    return _worse("likelihoods", torch.cat(apart), torch.cat(usual) if usual else None)


@torch.no_grad()
def _answers(stacked: StackedModel, exact: Reference, values: Tensor, *, own: Reference | None = None) -> str:
    """Compare how much less likely the answers' tokens are than the likeliest: nothing where they are the same.

    In bfloat16, the usual error is that of the base's own logits.
    """
    prompts = rows_of(5, PROMPTS)
    answers = generate(stacked, values, prompts, stops=frozenset(), max_new_tokens=NEW, rows=4)
    apart, usual = [], []
    for k, value in enumerate(values):
        for prompt, answer in zip(prompts, answers[k], strict=True):
            ids = (*prompt, *answer)[:-1]
            logits = exact.logits(value, ids)[len(prompt) - 1 :]
            apart.append(_regret(logits, torch.tensor(answer)))
            if own is not None:
                off = own.logits(value, ids)[len(prompt) - 1 :] - logits
                usual.append((off - off.mean(-1, keepdim=True)).square().mean(-1).sqrt())
    return _worse("answers", torch.cat(apart), torch.cat(usual) if usual else None)


def _regret(logits: Tensor, chosen: Tensor) -> Tensor:
    return logits.amax(-1) - logits.gather(-1, chosen[:, None])[:, 0]


def _apart(ours: Tensor, true: Tensor) -> float:
    return float((ours.detach().float() - true.detach().float()).abs().max())


def _worse(what: str, apart: Tensor, usual: Tensor | None) -> str:
    """Compare errors with those of the base's own precision: largest in float32, mean in bfloat16."""
    if usual is None:
        return f"{what} are off by {float(apart.max()):.1e}" if not float(apart.max()) < 5e-3 else ""
    mean, own = float(apart.mean()), float(usual.mean())
    return f"{what} are off by {mean:.1e}, the base's own by {own:.1e}" if not mean <= 2 * own + 2e-3 else ""
