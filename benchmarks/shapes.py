"""Shared parts of the GPU benchmarks: base models of published shapes with random weights, and the GPU's rates."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

SHAPES: dict[str, dict[str, Any]] = {
    "llama3-8b": {
        "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192, "rope_theta": 5e5,
    },
    "small": {
        "vocab_size": 4096, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 2048,
    },
}  # fmt: skip
SHAPES["llama3-8b, 4 layers"] = {**SHAPES["llama3-8b"], "num_hidden_layers": 4}
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def random_base(shape: str, *, device: torch.device) -> Any:
    """Build a Llama of a shape on the device, bfloat16 on a GPU."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**SHAPES[shape], tie_word_embeddings=False, attn_implementation="sdpa")
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if device.type == "cuda" else torch.float32)
    with device:
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.requires_grad_(requires_grad=False)
    return model.eval()


def seconds(work: Callable[[], object], *, device: torch.device, repeats: int = 5, warm: int = 2) -> float:
    """Return the median time of ``work`` in seconds."""
    times = []
    for i in range(warm + repeats):
        sync(device)
        begun = time.perf_counter()
        work()
        sync(device)
        if i >= warm:
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def sync(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def rates(device: torch.device) -> tuple[float, float]:
    """Return the GPU's matmul rate (FLOP/s, 8192³ in bfloat16) and copy rate (bytes/s, read and write)."""
    n = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    matmul = 2 * n**3 / seconds(lambda: a @ b, device=device, repeats=10)
    big = torch.empty(2**30 if device.type == "cuda" else 2**24, dtype=torch.uint8, device=device)
    other = torch.empty_like(big)
    return matmul, 2 * big.numel() / seconds(lambda: other.copy_(big), device=device, repeats=10)
