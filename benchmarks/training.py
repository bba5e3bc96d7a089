"""Compares packed training with PEFT on one GPU: `python benchmarks/training.py`.

Each trial trains one sequence of 512 tokens per step, with LoRA of rank 64 on all linear layers. The lower bound of
the time is that of 4 N FLOP per token for a frozen base model (forward pass, and gradient of activations) at the GPU's
matmul rate, which is measured here. ``--ragged K`` trains K trials on rows of 100 to 512 tokens, without padding and
padded to the longest; padding does not count as tokens.
"""

import argparse
import itertools
import json
import random
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from shapes import LINEARS, random_base, rates, sync

from xlharm.config.training import Training
from xlharm.corpus.rows import Row
from xlharm.corpus.sampling import StepRows
from xlharm.model.float8 import to_float8
from xlharm.model.layout import layout_of
from xlharm.model.lora import StackedModel, uninstall
from xlharm.stages.context import join_group
from xlharm.train.engine import PackEngine
from xlharm.train.loop import train_pack
from xlharm.train.slots import BatchShare, Slot
from xlharm.train.terms import FINE_TUNING

LENGTH = 512
STEPS = 5  # a timed stretch


@dataclass(frozen=True)
class Fixed:
    """Random rows, the same in every step."""

    rows: tuple[Row, ...]

    def batch(self, _step: int) -> StepRows:
        return StepRows(target=list(self.rows), preferred=[], retain=[])

    def all_rows(self) -> list[Row]:
        return list(self.rows)


@dataclass(frozen=True)
class Changing(Fixed):
    """Random rows whose lengths change in every step."""

    def all_rows(self) -> list[Row]:
        return [Row(row.ids[:n], 1) for row in self.rows for n in (100, LENGTH)]

    def batch(self, step: int) -> StepRows:
        generator = random.Random(f"{self.rows[0].ids[0]} {step}")
        rows = [Row(row.ids[: generator.randint(100, LENGTH)], 1) for row in self.rows]
        return StepRows(target=rows, preferred=[], retain=[])


def stream(seed: int, *, vocab: int, count: int = 1, kind: type[Fixed] = Fixed) -> Any:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocab, (count, LENGTH + 1), generator=generator)[:, :LENGTH].tolist()
    return kind(tuple(Row(tuple(row), 1) for row in ids))


def packed(
    engine: PackEngine, *, k: int, steps: int, vocab: int, rows: int = 1, kind: type[Fixed] = Fixed
) -> dict[str, float]:
    """Train a pack of k trials; return the seconds of the first three steps, and the median step's ms and tokens/s."""
    layout, device = engine.layout, engine.device
    training = Training(steps=steps, learning_rate=1e-4, schedule="constant")
    initial = [layout.initial(seed=i) for i in range(min(k, 2))]
    slots = [
        Slot(training=training, terms=FINE_TUNING, stream=stream(i, vocab=vocab, count=rows, kind=kind),
             initial=initial[i % 2], mask=None)
        for i in range(k)
    ]  # fmt: skip
    begun = time.perf_counter()
    marks: list[float] = []

    def mark(step: int, _tokens: int) -> None:
        if (step - 3) % STEPS == 0:  # between two marks, nothing waits for the device, as in a real stage
            sync(device)
            marks.append(time.perf_counter())

    trained = train_pack(engine, slots, rows=BatchShare(), report=mark)
    step = statistics.median(b - a for a, b in itertools.pairwise(marks)) / STEPS
    tokens = sum(t.tokens for t in trained) / steps
    return {"first_3_s": marks[0] - begun, "step_ms": 1000 * step, "tok_s": tokens / step}


def padded(engine: PackEngine, *, like: dict[str, float], **more: Any) -> dict[str, float]:
    """Train on rows padded to the longest; return tokens/s without counting padding."""
    measured = packed(engine, **more)
    return {**measured, "tok_s": like["tok_s"] * like["step_ms"] / measured["step_ms"]}


def peft_trial(model: Any, *, batch: int, steps: int, rank: int, compiled: bool) -> dict[str, float]:
    """Train in the usual way: PEFT under autocast, and fused AdamW."""
    from peft import LoraConfig, get_peft_model

    device = next(model.parameters()).device
    peft = get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LINEARS), lora_dropout=0.0))
    peft.train()
    for name, p in peft.named_parameters():
        if "lora_" in name:
            p.data = p.data.float()
    params = [p for p in peft.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=1e-4, fused=True)
    ids = torch.randint(0, model.config.vocab_size, (batch, LENGTH), device=device)
    if compiled:
        for layer in model.model.layers:
            layer.compile()
    times = []
    for step in range(steps):
        sync(device)
        begun = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = peft(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        sync(device)
        if step >= 3:
            times.append(time.perf_counter() - begun)
    peft.unload()
    if compiled:
        for layer in model.model.layers:
            layer._compiled_call_impl = None
    model.requires_grad_(requires_grad=False)
    model.eval()
    return {"step_ms": 1000 * statistics.median(times), "tok_s": batch * LENGTH / statistics.median(times)}


def profile(engine: PackEngine, *, k: int, vocab: int) -> str:
    """Return a table of the kernels that a pack's steps spend most time in."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    with record(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiled:
        packed(engine, k=k, steps=8, vocab=vocab)
    return profiled.key_averages().table(sort_by="self_device_time_total", row_limit=28, max_name_column_width=70)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="llama3-8b")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--packs", default="1,2,4,8,16")
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--float8", action="store_true", help="the base's linear layers in float8, after the peers")
    parser.add_argument("--profile", type=int, default=0)
    parser.add_argument("--ragged", type=int, default=0, help="trials with rows of many lengths")
    parser.add_argument("--rows", type=int, default=4, help="rows of each of those, a step")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    matmul, copy = rates(device)
    model = random_base(args.shape, device=device)
    n = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    floor = matmul / (4 * n)
    print(json.dumps({"device": name, "matmul_tflops": matmul / 1e12, "copy_tbs": copy / 1e12, "floor_tok_s": floor}))

    def show(what: str, measured: dict[str, float]) -> None:
        memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
        rounded = {key: round(value, 1) for key, value in measured.items()}
        shares = {"of_floor": round(measured["tok_s"] / floor, 3), "gib": round(memory, 1)}
        print(json.dumps({"what": what, **rounded, **shares}), flush=True)

    if not args.no_peers:
        for batch in (1, 8):
            show(f"peft batch {batch}", peft_trial(model, batch=batch, steps=10, rank=args.rank, compiled=False))
        show("peft batch 8 compiled", peft_trial(model, batch=8, steps=10, rank=args.rank, compiled=True))
    if args.float8:
        to_float8(model, device=device)
    layout = layout_of(model, rank=args.rank, alpha=args.rank, targets=LINEARS)
    stacked = StackedModel(model, layout, compiled=not args.eager and device.type == "cuda")
    join_group(rank=0, world=1, master=None, device=device)
    sizes = [int(k) for k in args.packs.split(",") if k]
    engine = PackEngine(stacked, slots=max([*sizes, args.ragged]), zero=0, world=1, device=device)
    for k in sizes:
        show(f"pack {k}", packed(engine, k=k, steps=args.steps, vocab=model.config.vocab_size))
    if args.ragged:
        more = {"k": args.ragged, "steps": args.steps, "vocab": model.config.vocab_size, "rows": args.rows}
        ragged = packed(engine, kind=Changing, **more)
        show(f"pack {args.ragged}, ragged", ragged)
        show(f"pack {args.ragged}, padded", padded(engine, like=ragged, **more))
    if args.profile:
        print(profile(engine, k=args.profile, vocab=model.config.vocab_size))
    uninstall(model)


if __name__ == "__main__":
    main()
