"""Steps replayed as CUDA graphs: an 8B base launches thousands of kernels a step, and small packs wait for the host."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xlharm.model.ragged import Ragged

_log = logging.getLogger(__name__)
Run = Callable[[Tensor, Ragged], Tensor]


class Replays:
    """The base's forwards and backwards for one pack, captured but for the first.

    All shapes share one pool of memory. So what a forward returns holds until the next one, and a forward's backward
    comes before the next forward.

    Args:
        run: the forward: adapters [K, P] and rows in, states [T, width] out.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._warm: set[Any] = set()
        self._shapes: dict[Any, _Shape] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._given = self._grads = torch.empty(0)
        self._failed = False

    @property
    def held(self) -> bool:
        """Whether captured shapes hold memory."""
        return bool(self._shapes)

    def __call__(self, adapters: Tensor, ragged: Ragged) -> Tensor:
        """Return the states [T, width], with a gradient for the adapters where they want one."""
        learning = adapters.requires_grad and torch.is_grad_enabled()
        tokens, rows, places, uneven = ragged.shape
        # What compiles or chooses kernels must not be captured: it depends on all but the tokens of spread rows.
        kind = learning, adapters.shape, rows, places or (tokens,), uneven
        key = *kind, tokens
        if key not in self._shapes and kind in self._warm and not self._failed:
            self._capture(key, adapters, ragged, learning=learning)
        if key not in self._shapes:
            self._warm.add(kind)
            return self._run(adapters, ragged)
        return _Replay.apply(self._shapes[key], adapters, ragged)  # type: ignore[no-any-return, no-untyped-call] # autograd

    def _capture(self, key: Any, adapters: Tensor, ragged: Ragged, *, learning: bool) -> None:
        stream = torch.cuda.current_stream()
        try:
            if self._given.shape != adapters.shape:
                self._given, self._grads = (torch.empty_like(adapters, requires_grad=False) for _ in range(2))
            told = _Shape(self._run, ragged, given=self._given, grads=self._grads, pool=self._pool, learning=learning)
            self._shapes[key] = told
        except RuntimeError as error:  # no memory is left for it, or the base does what cannot be captured
            self._failed = True
            torch.cuda.set_stream(stream)  # a capture that fails leaves its own behind
            # as text: a record that some handler keeps would keep the capture's tensors with the error's frames
            _log.warning("steps are not captured from here on: %s", str(error))


class _Shape:
    """One shape's graphs and the places that they read and write."""

    def __init__(self, run: Run, ragged: Ragged, *, given: Tensor, grads: Tensor, pool: Any, learning: bool) -> None:
        self._given, self._grads = given, grads
        self._ragged = replace(ragged, **{n: x.clone() for n, x in ragged.tensors().items()})  # type: ignore[arg-type] # tensors
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        adapters = given.detach().requires_grad_(learning)
        with torch.cuda.graph(self._forward, pool=pool):
            states = run(adapters, self._ragged)
        self._states = states.detach()
        self._grad = torch.empty_like(self._states)
        if learning:
            with torch.cuda.graph(self._backward, pool=pool):
                grads.copy_(torch.autograd.grad(states, adapters, self._grad)[0])

    def forward(self, adapters: Tensor, ragged: Ragged) -> Tensor:
        """Replay the forward."""
        self._given.copy_(adapters)
        for name, tensor in ragged.tensors().items():
            getattr(self._ragged, name).copy_(tensor)
        self._forward.replay()
        return self._states.detach()

    def backward(self, grad: Tensor) -> Tensor:
        """Replay the backward."""
        self._grad.copy_(grad)
        self._backward.replay()
        # float32 gradients would become the parameters' own, and the step's next bite would overwrite them
        return self._grads.clone() if self._grads.dtype == torch.float32 else self._grads.detach()


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shape: _Shape, adapters: Tensor, ragged: Ragged) -> Tensor:
        ctx.shape = shape
        return shape.forward(adapters, ragged)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, ctx.shape.backward(grads[0]), None
