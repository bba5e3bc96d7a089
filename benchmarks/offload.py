"""Trains a base model that is larger than the GPU memory it may use: `python benchmarks/offload.py`.

First five steps with the whole base model on the GPU. Then the same five steps with a memory limit below the size of
the base model, and ZeRO stage 3 with its parameters in the machine's memory (2104.07857). The losses must be the same.
Each offloaded step moves the base model over the bus twice, forward and backward, so tokens/s grow with the number of
rows in a step.
"""

import argparse
import gc
import itertools
import json
import statistics
import sys
import time
from typing import Any

import torch
from shapes import LINEARS, random_base, sync
from training import LENGTH, stream

from xlharm.config.training import Training
from xlharm.model.layout import layout_of
from xlharm.model.lora import StackedModel, uninstall
from xlharm.plan.sharding import Offload, zero_stage
from xlharm.stages.context import join_group
from xlharm.train.engine import PackEngine
from xlharm.train.loop import train_pack
from xlharm.train.slots import BatchShare, Slot
from xlharm.train.terms import FINE_TUNING

STEPS = 5
WARM = 2  # number of steps before the timed ones
TOLERANCE = 1e-3  # relative; the losses have been equal so far, as the kernels are the same


def trained(model: Any, *, device: torch.device, rank: int, rows: int, offload: Offload | None) -> dict[str, Any]:
    """Train one adapter for a few steps; return its losses, tokens/s and the peak of device memory in GiB."""
    begun = time.perf_counter()
    layout = layout_of(model, rank=rank, alpha=rank, targets=LINEARS)
    zero = zero_stage(None, ranks=1, offload=offload)
    stacked = StackedModel(model, layout)
    engine = PackEngine(stacked, slots=1, zero=zero, world=1, device=device, offload=offload)
    built = time.perf_counter() - begun
    training = Training(steps=STEPS, learning_rate=1e-3, schedule="constant")
    rows_of_steps = stream(0, vocab=model.config.vocab_size, count=rows)
    slot = Slot(training=training, terms=FINE_TUNING, stream=rows_of_steps, initial=layout.initial(seed=0), mask=None)
    marks: list[float] = []

    def mark(_step: int, _tokens: int) -> None:
        sync(device)
        marks.append(time.perf_counter())

    (result,) = train_pack(engine, [slot], rows=BatchShare(), report=mark)
    step = statistics.median(b - a for a, b in itertools.pairwise(marks[WARM - 1 :]))
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    return {
        "offload": offload, "zero": zero, "losses": result.curves["target"], "step_ms": round(1000 * step, 1),
        "tok_s": round(rows * LENGTH / step, 1), "peak_gib": round(peak, 2), "engine_s": round(built, 1),
    }  # fmt: skip


def limit_memory(model: Any, gib: float, *, device: torch.device) -> None:
    """Move the base model off the device, and limit this process to ``gib`` GiB of device memory."""
    uninstall(model)
    model.to("cpu")
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gib * 2**30 / total))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="llama3-8b")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rows", type=int, default=1, help=f"of {LENGTH} tokens a step")
    parser.add_argument("--limit", type=float, default=12.0, help="GiB of the device, less than the base")
    parser.add_argument("--offload", choices=["params", "both"], default="params")
    args = parser.parse_args()
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    join_group(rank=0, world=1, master=None, device=device)
    model = random_base(args.shape, device=device)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    base = {"device": name, "shape": args.shape, "base_gib": round(size / 2**30, 2), "limit_gib": args.limit}
    print(json.dumps(base), flush=True)
    whole = trained(model, device=device, rank=args.rank, rows=args.rows, offload=None)
    print(json.dumps(whole), flush=True)
    limit_memory(model, args.limit, device=device)
    spared = trained(model, device=device, rank=args.rank, rows=args.rows, offload=args.offload)
    streamed = 2 * size / (spared["step_ms"] / 1000) / 1e9
    print(json.dumps({**spared, "streamed_gb_s": round(streamed, 1)}), flush=True)
    apart = max(abs(a - b) / abs(a) for a, b in zip(whole["losses"], spared["losses"], strict=True))
    problems = [f"losses differ by {apart:.1e}"] if apart > TOLERANCE else []
    if device.type == "cuda":
        problems += ["the base is not larger than the limit"] if size <= args.limit * 2**30 else []
        problems += ["the limit was passed"] if spared["peak_gib"] > args.limit else []
    print(json.dumps({"losses_apart": apart, "problems": problems}), flush=True)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
