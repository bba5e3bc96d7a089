"""Training steps replayed as CUDA graphs.

A step of an 8B base model launches thousands of kernels. With a small pack, the GPU waits for the host to launch them.
"""

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
    """The base model's forward and backward passes for one pack; all but the first of a kind are captured and replayed.

    All shapes share one pool of memory. So the result of a forward pass is valid only until the next one, and its
    backward pass must come before the next forward pass.

    Args:
        run: the forward pass: takes adapters [K, P] and rows, returns states [T, width].
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._warm: set[Any] = set()
        self._shapes: dict[Any, _Shape] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._adapter_buffer = self._grad_buffer = torch.empty(0)
        self._failed = False

    @property
    def held(self) -> bool:
        """Whether captured steps hold memory."""
        return bool(self._shapes)

    def __call__(self, adapters: Tensor, ragged: Ragged) -> Tensor:
        """Return the states [T, width]; gradients flow to the adapters if they require any."""
        learning = adapters.requires_grad and torch.is_grad_enabled()
        tokens, rows, places, uneven = ragged.shape
        # The first run of a kind compiles code and chooses kernels, which must not be captured. Both depend on all
        # of these values except the number of tokens when rows are spread.
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
            if self._adapter_buffer.shape != adapters.shape:
                self._adapter_buffer, self._grad_buffer = (
                    torch.empty_like(adapters, requires_grad=False) for _ in range(2)
                )
            shape = _Shape(
                self._run,
                ragged,
                adapter_buffer=self._adapter_buffer,
                grad_buffer=self._grad_buffer,
                pool=self._pool,
                learning=learning,
            )
            self._shapes[key] = shape
        except RuntimeError as error:  # out of memory, or the base model does something that cannot be captured
            self._failed = True
            torch.cuda.set_stream(stream)  # a failed capture leaves its own stream as the current one
            # As text: a handler that keeps the exception would also keep the capture's tensors, through its frames.
            _log.warning("steps are no longer captured as CUDA graphs: %s", str(error))


class _Shape:
    """The CUDA graphs of one shape, and the buffers that they read and write."""

    def __init__(
        self, run: Run, ragged: Ragged, *, adapter_buffer: Tensor, grad_buffer: Tensor, pool: Any, learning: bool
    ) -> None:
        self._adapter_buffer, self._grad_buffer = adapter_buffer, grad_buffer
        self._ragged = replace(ragged, **{n: x.clone() for n, x in ragged.tensors().items()})  # type: ignore[arg-type] # tensors
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        adapters = adapter_buffer.detach().requires_grad_(learning)
        with torch.cuda.graph(self._forward, pool=pool):
            states = run(adapters, self._ragged)
        self._states = states.detach()
        self._grad = torch.empty_like(self._states)
        if learning:
            with torch.cuda.graph(self._backward, pool=pool):
                grad_buffer.copy_(torch.autograd.grad(states, adapters, self._grad)[0])

    def forward(self, adapters: Tensor, ragged: Ragged) -> Tensor:
        """Replay the forward pass; return the states [T, width]."""
        self._adapter_buffer.copy_(adapters)
        for name, tensor in ragged.tensors().items():
            getattr(self._ragged, name).copy_(tensor)
        self._forward.replay()
        return self._states.detach()

    def backward(self, grad: Tensor) -> Tensor:
        """Replay the backward pass; return the adapters' gradients."""
        self._grad.copy_(grad)
        self._backward.replay()
        # float32 gradients would be used as the parameters' own, and the next micro-batch would overwrite them
        return self._grad_buffer.clone() if self._grad_buffer.dtype == torch.float32 else self._grad_buffer.detach()


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shape: _Shape, adapters: Tensor, ragged: Ragged) -> Tensor:
        ctx.shape = shape
        return shape.forward(adapters, ragged)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, ctx.shape.backward(grads[0]), None
