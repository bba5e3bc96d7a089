"""Stacked LoRA: K adapters on one frozen base, one forward and backward for all of them.

An adapter (2106.09685) is one flat float32 vector: for every target linear layer, in the model's order, first
A [rank, in], then B [out, rank]. K vectors are stacked to [K, P] and cut into views [K, rank, in] and
[K, out, rank], so that K groups of tokens go through two matrix products a layer: batched ones where all groups
are equally long, grouped ones where they are not.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import grouped_mm

from xlharm.errors import UserError
from xlharm.model.base import layers
from xlharm.plan.digest import mix
from xlharm.plan.memory import no_layer

COMPILING: dict[str, Any] = {"deterministic": True}  # reductions that are cut as timing says would round as timing says


@dataclass(frozen=True)
class Segment:
    """One linear layer's place in the flat vector.

    Attributes:
        name: the layer's path in the base model.
        layer: index of its decoder layer; -1 outside of them.
        fan_in: input width.
        fan_out: output width.
        offset: where its A begins; B follows.
    """

    name: str
    layer: int
    fan_in: int
    fan_out: int
    offset: int


@dataclass(frozen=True)
class Layout:
    """How a flat vector is cut into the A and B of every target layer."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """Number of parameters of one adapter."""
        return sum(self.rank * (s.fan_in + s.fan_out) for s in self.segments)

    @property
    def scale(self) -> float:
        """Factor on the adapter's output, alpha / rank."""
        return self.alpha / self.rank

    def pieces(self) -> list[int]:
        """Return the lengths of A and B of every segment, in order."""
        return [n for s in self.segments for n in (self.rank * s.fan_in, self.rank * s.fan_out)]

    def initial(self, *, seed: int) -> Tensor:
        """Return a fresh adapter [P]: A uniform as in nn.Linear, B zero, so that it changes nothing yet."""
        vector = torch.zeros(self.size)
        for s in self.segments:
            generator = torch.Generator().manual_seed(mix(seed, "lora", s.name) % 2**63)
            bound = s.fan_in**-0.5
            a = torch.rand(self.rank * s.fan_in, generator=generator) * (2 * bound) - bound
            vector[s.offset : s.offset + a.numel()] = a
        return vector

    def mask(self, layers: Sequence[int] | None) -> Tensor | None:
        """Return [P] with 1 where the given decoder layers' parameters lie; None means all of them.

        Raises:
            UserError: a layer that the base does not have.
        """
        if layers is None:
            return None
        known = {s.layer for s in self.segments}
        for layer in layers:
            if layer not in known:
                raise UserError(f"layers: the base has no adapted layer {layer} (it has 0 to {max(known)})")
        mask = torch.zeros(self.size)
        for s in self.segments:
            if s.layer in layers:
                mask[s.offset : s.offset + self.rank * (s.fan_in + s.fan_out)] = 1.0
        return mask


class StackedLinear(nn.Module):
    """A frozen linear layer plus the adapters that the current pack put into it."""

    def __init__(self, linear: nn.Linear, *, scale: float) -> None:
        super().__init__()
        self.linear = linear
        self.scale = scale
        self.a: Tensor | None = None  # [K, rank, in]
        self.b: Tensor | None = None  # [K, out, rank]
        self.ends: Tensor | None = None  # [K]

    def forward(self, x: Tensor) -> Tensor:
        """Map x [rows, length, in] to [rows, length, out]; tokens of one adapter lie together.

        Each adapter has as many tokens as the others, unless ``ends`` says where its tokens end.
        """
        y: Tensor = self.linear(x)
        if self.a is None or self.b is None:
            return y
        if self.ends is not None:
            grouped = x.flatten(0, 1)
        elif x.shape[0] == self.a.shape[0]:  # asked first: tracing the division below takes seconds
            grouped = x
        else:
            grouped = x.reshape(self.a.shape[0], -1, x.shape[-1])
        return y + _LowRank.apply(grouped, self.a, self.b, self.scale, self.ends).view_as(y)  # type: ignore[no-untyped-call,no-any-return]


class _LowRank(torch.autograd.Function):
    """scale · x Aᵀ Bᵀ for K groups of tokens, with gradients in the layout that the flat adapter has.

    x is [K, tokens, in], or [tokens, in] with groups that end at ``ends``.

    Left to itself autograd makes A's gradient transposed, and copies it once more to lay it flat.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any, x: Tensor, a: Tensor, b: Tensor, scale: float, ends: Tensor | None
    ) -> Tensor:
        low = _products(x, a.transpose(1, 2), ends) * scale
        ctx.save_for_backward(x, a, b, low, ends)
        ctx.scale = scale
        return _products(low, b.transpose(1, 2), ends)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, low, ends = ctx.saved_tensors
        (grad,) = grads
        of_low = _products(grad, b, ends) * ctx.scale
        of_x = _products(of_low, a, ends) if ctx.needs_input_grad[0] else None
        return of_x, _products_over(of_low, x, ends), _products_over(grad, low, ends), None, None


def _products(x: Tensor, weights: Tensor, ends: Tensor | None) -> Tensor:
    """Return each group's tokens [tokens, m] times its matrix [m, n]."""
    return torch.bmm(x, weights) if ends is None else grouped_mm(x, weights, offs=ends)


def _products_over(x: Tensor, y: Tensor, ends: Tensor | None) -> Tensor:
    """Return xᵀ y [K, m, n], summed over each group's tokens."""
    return torch.bmm(x.transpose(1, 2), y) if ends is None else grouped_mm(x.t(), y, offs=ends)


def layout_of(model: Any, *, rank: int, alpha: float, targets: Sequence[str]) -> Layout:
    """Find the target layers of a base.

    Raises:
        UserError: a target module that the base does not have.
    """
    segments, offset, found = [], 0, set()
    linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | StackedLinear)}
    for name, module in linears.items():
        leaf = name.rsplit(".", 1)[-1]
        if leaf not in targets or module is model.get_output_embeddings():
            continue
        linear = module.linear if isinstance(module, StackedLinear) else module
        found.add(leaf)
        numbers = [int(part) for part in name.split(".") if part.isdigit()]
        segment = Segment(name, numbers[0] if numbers else -1, linear.in_features, linear.out_features, offset)
        segments.append(segment)
        offset += rank * (linear.in_features + linear.out_features)
    for target in targets:
        if target not in found:
            raise no_layer(target, {n.rsplit(".", 1)[-1] for n in linears} - {"linear", "lm_head"})
    return Layout(rank=rank, alpha=alpha, targets=tuple(targets), segments=tuple(segments))


def install(model: nn.Module, layout: Layout) -> dict[str, StackedLinear]:
    """Put a ``StackedLinear`` in the place of every target layer (once; later calls only set the scale)."""
    installed = {}
    for segment in layout.segments:
        parent = model.get_submodule(segment.name.rsplit(".", 1)[0])
        leaf = segment.name.rsplit(".", 1)[1]
        module = getattr(parent, leaf)
        if isinstance(module, StackedLinear):
            module.scale = layout.scale
        else:
            module = StackedLinear(cast("nn.Linear", module), scale=layout.scale)
            setattr(parent, leaf, module)
        installed[segment.name] = module
    return installed


def uninstall(model: nn.Module) -> None:
    """Put the plain linear layers back."""
    wrapped = [(n, m) for n, m in model.named_modules() if isinstance(m, StackedLinear)]
    for name, module in wrapped:
        setattr(model.get_submodule(name.rsplit(".", 1)[0]), name.rsplit(".", 1)[1], module.linear)


class StackedModel:
    """A base with the layers of one layout installed; adapters are put in for the length of a ``with``.

    Args:
        model: the base.
        layout: how adapters are cut.
        compiled: compile the decoder layers (seconds, once a worker and shape; worth it for large bases on a GPU).
    """

    def __init__(self, model: nn.Module, layout: Layout, *, compiled: bool = False) -> None:
        uninstall(model)
        self.model = model
        self.layout = layout
        self._layers = install(model, layout)
        self._rehearsed: set[Hashable] = set()
        self.compiled = compiled
        if compiled:
            torch._dynamo.config.recompile_limit = 64  # noqa: SLF001 - its only name; shapes of packs, grids and languages
            for layer in layers(model):
                layer.compile(options=COMPILING)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the base, and so of the products with adapters."""
        return next(iter(self._layers.values())).linear.weight.dtype

    @property
    def uneven(self) -> bool:
        """Whether groups may differ in length: grouped products want whole 16 bytes, and on a GPU bfloat16."""
        widths = {self.layout.rank, *(n for s in self.layout.segments for n in (s.fan_in, s.fan_out))}
        on_gpu = next(self.model.parameters()).device.type == "cuda"
        return all(n * self.dtype.itemsize % 16 == 0 for n in widths) and (self.dtype == torch.bfloat16 or not on_gpu)

    @contextmanager
    def adapters(self, stacked: Tensor, *, ends: Tensor | None = None) -> Iterator[None]:
        """Use adapters [K, P]; gradients flow into them when they require any.

        Args:
            stacked: the adapters.
            ends: [K] int32, where each one's tokens end in a sequence; None when they have equally many.
        """
        parts = torch.split(stacked.to(self.dtype), self.layout.pieces(), dim=1)
        k, rank = stacked.shape[0], self.layout.rank
        try:
            for i, segment in enumerate(self.layout.segments):
                layer = self._layers[segment.name]
                layer.a = parts[2 * i].view(k, rank, segment.fan_in)
                layer.b = parts[2 * i + 1].view(k, segment.fan_out, rank)
                layer.ends = ends
            with _for_all_sizes() if self.compiled else nullcontext():
                yield
        finally:
            for layer in self._layers.values():
                layer.a = layer.b = layer.ends = None

    def rehearse(self, kind: Hashable, run: Callable[[], object]) -> None:
        """Let code be compiled for sizes that are always the same, before inputs of a new kind come.

        The code is for all sizes, but how its reductions are cut, and so rounded, follows those that it is compiled
        with: a stage's numbers would tell which packs its worker had before.

        Args:
            kind: all of the inputs that code is compiled anew for.
            run: runs what is to be compiled.
        """
        if not self.compiled or kind in self._rehearsed:
            return
        self._rehearsed.add(kind)
        try:
            run()
        except torch.OutOfMemoryError:  # then it is compiled with what comes: smaller still, or as hopeless
            torch.cuda.empty_cache()

    @contextmanager
    def uncompiled(self) -> Iterator[None]:
        """Run layers as they are, with whatever hooks they have."""
        compiled, self.compiled = self.compiled, False
        try:
            with torch.compiler.set_stance("force_eager"):
                yield
        finally:
            self.compiled = compiled


@contextmanager
def _for_all_sizes() -> Iterator[None]:
    """Compile code for all sizes at once: hardly two inputs have the same, and compiling takes up to half a minute.

    A number that may change, as the adapters' scale would, is computed on the host, by a C++ compiler: 45 s. And sizes
    that happen to be equal are not taken for the same: K may equal the rank.
    """
    with (
        torch._dynamo.config.patch(assume_static_by_default=False, specialize_float=True),  # noqa: SLF001 - its only name
        torch.fx.experimental._config.patch(use_duck_shape=False),  # type: ignore[attr-defined] # noqa: SLF001 - likewise
    ):
        yield


class AdapterPool(nn.Module):
    """K slots, each one trainable flat adapter.

    Args:
        slots: K.
        size: P, parameters of one adapter.
        device: where they lie.
        complete: let every slot take part in each forward, used or not (ZeRO's buckets expect a gradient of
            every parameter), and expect ZeRO to move the slots elsewhere.
    """

    def __init__(self, *, slots: int, size: int, device: torch.device, complete: bool = False) -> None:
        super().__init__()
        self.complete = complete
        self._together = torch.zeros(slots, size, device=device)
        self.slots = nn.ParameterList(nn.Parameter(row) for row in self._together)
        if complete:
            self._together = torch.empty(0)

    def forward(self, count: int, masks: Sequence[Tensor | None], *, dtype: torch.dtype) -> Tensor:
        """Stack the first ``count`` slots to [count, P] in ``dtype``; where a mask is 0 no gradient flows."""
        used = list(self.slots) if self.complete else list(self.slots)[:count]
        together = None if self.complete else self._together
        return _Stack.apply(together, count, masks, dtype, *used)  # type: ignore[no-any-return, no-untyped-call]


class _Stack(torch.autograd.Function):
    """Stack slots in another precision with one pass over their values, and one over their gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        together: Tensor | None,
        count: int,
        masks: Sequence[Tensor | None],
        dtype: torch.dtype,
        *slots: Tensor,
    ) -> Tensor:
        ctx.masks, ctx.unused = masks, [s.shape for s in slots[count:]]
        stacked = torch.stack(slots[:count]) if together is None else together[:count]
        return stacked.to(dtype, copy=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows = grads[0].float().unbind(0)
        kept = [row if mask is None else row * mask for row, mask in zip(rows, ctx.masks, strict=True)]
        return (None, None, None, None, *kept, *(rows[0].new_zeros(shape) for shape in ctx.unused))
