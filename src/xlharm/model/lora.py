"""Stacked LoRA: K adapters on one frozen base model, with one forward and backward pass for all of them.

An adapter (2106.09685) is one flat float32 vector of length P. For every target linear layer, in the model's order, it
holds first A [rank, in], then B [out, rank]. K vectors are stacked to [K, P] and cut into views [K, rank, in] and
[K, out, rank]. Each layer then needs two matrix products for all K groups of tokens: batched products if the groups
have equally many tokens, grouped products otherwise. Stacked experts have an A and a B for each expert; see
``model.experts``.
"""

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xlharm.errors import UserError
from xlharm.model.base import kind, layers
from xlharm.model.base import parts as parts_of
from xlharm.model.experts import StackedExperts, computing, uninstall_experts
from xlharm.model.grouped import low_rank
from xlharm.model.layout import Layout, Wrapped
from xlharm.model.ragged import Ragged
from xlharm.plan.families import Kind, Path

COMPILING: dict[str, Any] = {"deterministic": True}  # no autotuning by timing: it makes rounding machine-dependent


@dataclass
class _Pass:
    """The forward pass that is running.

    Attributes:
        tokens: number of tokens that the decoder was called with; None before it is called.
        rows: number of rows that it was called with, if each row belongs to one adapter.
        layers: names of the layers that were called since it was set; None keeps no names.
    """

    tokens: int | None = None
    rows: int | None = None
    layers: set[str] | None = None

    def note(self, name: str, tokens: int, *, whole: bool = False) -> None:
        """Note that a layer is called with so many tokens.

        Args:
            name: path of the layer in the base model.
            tokens: number of tokens.
            whole: whether they are known to be of all rows, in the rows' order.

        Raises:
            UserError: they are only some of the tokens, as an expert in a list gets: which adapter a token belongs to
                is then unknown.
        """
        if self.layers is not None:
            self.layers.add(name)
        if not whole and self.tokens not in {None, tokens}:
            raise UserError(
                f"lora.target_modules: {name.rsplit('.', 1)[-1]!r}: the layer {name} gets {tokens} of "
                f"{self.tokens} tokens, so it cannot have adapters"
            )


class StackedLinear(Wrapped):
    """A frozen linear layer with the adapters of the current pack.

    Args:
        linear: the layer.
        name: its path in the base model.
        scale: factor on the adapters' output.
        running: what is known of the running forward pass.
    """

    def __init__(self, linear: nn.Module, *, name: str, scale: float, running: _Pass) -> None:
        super().__init__()
        self.linear = linear
        self.name = name
        self.scale = scale
        self.running = running
        self.a: Tensor | None = None  # [K, rank, in]
        self.b: Tensor | None = None  # [K, out, rank]
        self.ends: Tensor | None = None  # [K]

    @property
    def weight(self) -> Any:
        """The base model's weight: some families look up its precision."""
        return self.linear.weight

    @property
    def bias(self) -> Any:
        """The base model's bias."""
        return self.linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., in] to [..., out].

        The tokens of one adapter are contiguous. All adapters have equally many tokens, unless ``ends`` gives the end
        of each adapter's tokens.

        Raises:
            UserError: the layer gets only some of the tokens; see ``_Pass.note``.
        """
        y: Tensor = self.linear(x)
        if self.a is None or self.b is None:
            return y
        if not torch.compiler.is_compiling():
            self.running.note(self.name, x.shape[:-1].numel(), whole=self.running.rows == x.shape[0])
        if self.ends is not None:
            grouped = x.flatten(0, -2)
        elif (
            x.dim() == 3 and x.shape[0] == self.a.shape[0]
        ):  # a case of its own: tracing the division below takes seconds
            grouped = x
        else:
            grouped = x.reshape(self.a.shape[0], -1, x.shape[-1])
        return y + low_rank(grouped, self.a, self.b, scale=self.scale, ends=self.ends).view_as(y)

    def use(self, a: Tensor, b: Tensor, *, ends: Tensor | None) -> None:
        """Use adapters a [K, 1, rank, in] and b [K, 1, out, rank]."""
        self.a, self.b, self.ends = a.squeeze(1), b.squeeze(1), ends

    def rest(self) -> None:
        """Use no adapters."""
        self.a = self.b = self.ends = None


def install(model: nn.Module, layout: Layout, running: _Pass) -> dict[str, StackedLinear | StackedExperts]:
    """Put adapters on every target layer, linear or stacked, and return these layers by name."""
    installed: dict[str, StackedLinear | StackedExperts] = {}
    for segment in layout.segments:
        parent, _, leaf = segment.name.rpartition(".")
        place = model.get_submodule(parent)
        if segment.experts:
            stack = StackedExperts(place, leaf, name=segment.name, scale=layout.scale, check=running.note)
            stack.install()
            installed[segment.name] = stack
        else:
            module = StackedLinear(getattr(place, leaf), name=segment.name, scale=layout.scale, running=running)
            setattr(place, leaf, module)
            installed[segment.name] = module
    return installed


def uninstall(model: nn.Module) -> None:
    """Replace every ``StackedLinear`` by its plain linear layer, and take the adapters from experts."""
    wrapped = [(n, m) for n, m in model.named_modules() if isinstance(m, StackedLinear)]
    for name, module in wrapped:
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, module.linear)
    uninstall_experts(model)


class StackedModel:
    """A base model with the layers of one layout installed; ``adapters`` uses adapters within a ``with`` block.

    Args:
        model: the base model.
        layout: how adapters are cut into layers.
        compiled: compile the decoder layers. It takes seconds, once for a worker and shape, and pays off for large base
            models on a GPU. Layers whose experts have adapters are not compiled.
        path: how the base model runs. ``fast``: concatenated rows, attention and cache of ours. ``generic``: padded
            rows, and transformers' own attention and cache, for any causal language model. Other kinds of models have
            a path of their own name, which is the generic one with what this kind needs.

    Attributes:
        dtype: precision of the base model's layers, in which the products with adapters are computed, too.
        caches: whether transformers' cache gives what its forward gives; only for the generic path.
        rehearsed_seconds: how long ``rehearse`` has taken so far.
    """

    def __init__(self, model: nn.Module, layout: Layout, *, compiled: bool = False, path: Path = "fast") -> None:
        uninstall(model)
        self.model = model
        self.path = path
        self.caches = True
        compiled = compiled and path == "fast" and not any(segment.experts for segment in layout.segments)
        self.layout = layout
        self._running = _Pass()
        self._layers = install(model, layout, self._running)
        self.dtype: torch.dtype = next(iter(self._layers.values())).weight.dtype
        self._experts = [layer for layer in self._layers.values() if isinstance(layer, StackedExperts)]
        self._rehearsed: set[Hashable] = set()
        self.rehearsed_seconds = 0.0
        self.compiled = compiled
        if compiled:
            torch._dynamo.config.recompile_limit = 64  # noqa: SLF001 - its only name; shapes of packs, grids and languages
            for layer in layers(model):
                layer.compile(options=COMPILING)

    @property
    def uneven(self) -> bool:
        """Whether groups may differ in length: it needs widths of a multiple of 16 bytes, and bfloat16 on a GPU."""
        widths = {self.layout.rank, *(n for s in self.layout.segments for n in (s.fan_in, s.fan_out))}
        on_gpu = next(self.model.parameters()).device.type == "cuda"
        return all(n * self.dtype.itemsize % 16 == 0 for n in widths) and (self.dtype == torch.bfloat16 or not on_gpu)

    @property
    def kind(self) -> Kind:
        """Which kind of model the base is."""
        return kind(self.model)

    def rows(
        self,
        groups: Sequence[Sequence[Sequence[int]]],
        *,
        steady: int | None = None,
        sources: Sequence[Sequence[Sequence[int]]] | None = None,
    ) -> Ragged:
        """Arrange K groups of rows as this base model's path takes them, on the CPU.

        Args:
            groups: see ``Ragged.of``.
            steady: see ``Ragged.of``.
            sources: the rows of the encoder, for an encoder-decoder alone.
        """
        if self.path == "fast":
            return Ragged.of(groups, uneven=self.uneven, steady=steady)
        return Ragged.padded_rows(groups, sources=sources if self.kind == "encoder-decoder" else None)

    @contextmanager
    def adapters(
        self, stacked: Tensor, *, ends: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Iterator[None]:
        """Use adapters within a ``with`` block; gradients flow to them if they require any.

        Args:
            stacked: the adapters, [K, P].
            ends: [K] int32, end of each adapter's tokens in the sequence; None if all have equally many tokens.
            dtype: precision of the products; None is the base model's.
        """
        parts = torch.split(stacked.to(dtype or self.dtype), self.layout.pieces(), dim=1)
        k, rank = stacked.shape[0], self.layout.rank
        counting = [part.register_forward_pre_hook(self._count, with_kwargs=True) for part in parts_of(self.model)]
        try:
            for i, segment in enumerate(self.layout.segments):
                a = parts[2 * i].view(k, -1, rank, segment.fan_in)
                b = parts[2 * i + 1].view(k, -1, segment.fan_out, rank)
                self._layers[segment.name].use(a, b, ends=ends)
            with _for_all_sizes() if self.compiled else nullcontext(), computing(self._experts):
                yield
        finally:
            for handle in counting:
                handle.remove()
            for layer in self._layers.values():
                layer.rest()

    def _count(self, _module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = named.get("input_ids", args[0] if args else None)
        self._running.tokens = None if ids is None else ids.numel()
        # Some layers get only the last token of each row, or more tokens: a row's are still its adapter's.
        self._running.rows = ids.shape[0] if ids is not None and self.path != "fast" else None

    @contextmanager
    def calls(self) -> Iterator[set[str]]:
        """Collect the names of the layers that are called with adapters within a ``with`` block."""
        called: set[str] = set()
        self._running.layers = called
        try:
            yield called
        finally:
            self._running.layers = None

    def rehearse(self, kind: Hashable, run: Callable[[], object]) -> None:
        """Compile code with an example of fixed sizes, before the first input of a new kind.

        Compiled code works for all sizes. But how it splits reductions, and so how it rounds, depends on the sizes of
        the input that it was compiled with. Without the fixed example, a stage's numbers would depend on the packs that
        its worker computed before.

        Args:
            kind: the properties of inputs that need code of their own.
            run: runs the code with the example.
        """
        if not self.compiled or kind in self._rehearsed:
            return
        self._rehearsed.add(kind)
        begun = time.perf_counter()
        try:
            run()
        except torch.OutOfMemoryError:  # the code is then compiled with the first input, which may be smaller
            torch.cuda.empty_cache()
        self.rehearsed_seconds += time.perf_counter() - begun

    @contextmanager
    def uncompiled(self) -> Iterator[None]:
        """Run the layers without compiled code within a ``with`` block, so that their hooks are called."""
        compiled, self.compiled = self.compiled, False
        try:
            with torch.compiler.set_stance("force_eager"):
                yield
        finally:
            self.compiled = compiled


@contextmanager
def _for_all_sizes() -> Iterator[None]:
    """Compile code that works for all sizes.

    Inputs rarely have the same sizes, and compiling takes up to half a minute.

    ``specialize_float``: compile numbers such as the adapters' scale as constants. As variables they would be computed
    on the host, by code that a C++ compiler makes in 45 s. ``use_duck_shape``: sizes that happen to be equal, such as K
    and the rank, are not assumed to be always equal.
    """
    with (
        torch._dynamo.config.patch(assume_static_by_default=False, specialize_float=True),  # noqa: SLF001 - its only name
        torch.fx.experimental._config.patch(use_duck_shape=False),  # type: ignore[attr-defined] # noqa: SLF001 - likewise
    ):
        yield


class AdapterPool(nn.Module):
    """K slots, each of which is one trainable flat adapter.

    Args:
        slots: K.
        size: P, number of parameters of one adapter.
        device: device of the slots.
        complete: for ZeRO. Every slot takes part in each forward pass, used or not, because ZeRO's buckets expect a
            gradient of every parameter. The slots need not be contiguous, because ZeRO moves them.
    """

    def __init__(self, *, slots: int, size: int, device: torch.device, complete: bool = False) -> None:
        super().__init__()
        self.complete = complete
        self._together = torch.zeros(slots, size, device=device)
        self.slots = nn.ParameterList(nn.Parameter(row) for row in self._together)
        if complete:
            self._together = torch.empty(0)

    def forward(self, count: int, masks: Sequence[Tensor | None], *, dtype: torch.dtype) -> Tensor:
        """Return the first ``count`` slots stacked to [count, P], in ``dtype``.

        Args:
            count: number of slots.
            masks: for each slot, 0 where its gradient is to be zero, [P]; None for no mask.
            dtype: precision of the result.
        """
        used = list(self.slots) if self.complete else list(self.slots)[:count]
        together = None if self.complete else self._together
        return _Stack.apply(together, count, masks, dtype, *used)  # type: ignore[no-any-return, no-untyped-call] # autograd


class _Stack(torch.autograd.Function):
    """Stack slots in another precision, with one pass over their values and one over their gradients."""

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
        masked = [row if mask is None else row * mask for row, mask in zip(rows, ctx.masks, strict=True)]
        return (None, None, None, None, *masked, *(rows[0].new_zeros(shape) for shape in ctx.unused))
