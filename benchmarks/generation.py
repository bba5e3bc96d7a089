"""Compares packed greedy decoding with `generate` on one GPU: `python benchmarks/generation.py`.

The lower bound of a step's time is that of reading the weights and the cache once, at the GPU's copy rate, which is
measured here.
"""

import argparse
import json
import time
from typing import Any

import torch
from shapes import LINEARS, random_base, rates, seconds, sync

from xlharm.evaluate.cache import layer_widths, row_bytes
from xlharm.evaluate.generate import generate
from xlharm.model.float8 import to_float8
from xlharm.model.layout import layout_of
from xlharm.model.lora import StackedModel, uninstall


def prompts(count: int, *, length: int, vocab: int) -> list[tuple[int, ...]]:
    ids = torch.randint(0, vocab, (count, length), generator=torch.Generator().manual_seed(0))
    return [tuple(row) for row in ids.tolist()]


def stock(model: Any, *, rows: int, length: int, new: int) -> float:
    """Return new tokens/s of transformers' own `generate` without adapters."""
    device = next(model.parameters()).device
    ids = torch.tensor(prompts(rows, length=length, vocab=model.config.vocab_size), device=device)
    model.generation_config.eos_token_id = None

    def run() -> None:
        model.generate(ids, max_new_tokens=new, min_new_tokens=new, do_sample=False, use_cache=True, pad_token_id=0)

    return rows * new / seconds(run, device=device, repeats=2, warm=1)


def packed(
    stacked: StackedModel, adapters: torch.Tensor, *, rows: int, length: int, new: int
) -> tuple[float, float, float]:
    """Return seconds of the first call, new tokens/s of later calls, and seconds of one decoding step."""
    device = adapters.device
    questions = prompts(rows // adapters.shape[0], length=length, vocab=stacked.model.config.vocab_size)

    def run(new: int) -> None:
        generate(stacked, adapters, questions, stops=frozenset(), max_new_tokens=new, rows=rows)

    sync(device)
    begun = time.perf_counter()
    run(new)
    sync(device)
    first = time.perf_counter() - begun
    whole = seconds(lambda: run(new), device=device, repeats=3, warm=0)
    shorter = seconds(lambda: run(new - 24), device=device, repeats=3, warm=1)  # nearly the same cache length
    return first, rows * new / whole, (whole - shorter) / 24


def agreement(*, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Compare answers with those of `generate` of PEFT, 4 adapters of a small base, 24 prompts each."""
    import tempfile
    from pathlib import Path

    from peft import PeftModel

    from xlharm.model.adapter_files import save_adapter

    model = random_base("small", device=device).to(dtype)
    layout = layout_of(model, rank=8, alpha=16, targets=LINEARS)
    generator = torch.Generator().manual_seed(1)
    adapters = (torch.randn(4, layout.size, generator=generator) * 0.05).to(device)
    questions = [p[: 5 + i % 20] for i, p in enumerate(prompts(24, length=32, vocab=4096))]
    stacked = StackedModel(model, layout)
    ours = generate(stacked, adapters, questions, stops=frozenset(), max_new_tokens=24, rows=40)
    uninstall(model)
    model.generation_config.eos_token_id = None
    same = 0
    for k, adapter in enumerate(adapters):
        with tempfile.TemporaryDirectory() as folder:
            save_adapter(adapter.cpu(), Path(folder), layout=layout, base_name="small")
            peft = PeftModel.from_pretrained(model, folder)
            for prompt, answer in zip(questions, ours[k], strict=True):
                out = peft.generate(
                    input_ids=torch.tensor([prompt], device=device), max_new_tokens=24, do_sample=False, pad_token_id=0
                )
                same += out[0, len(prompt) :].tolist() == answer
            model = peft.unload()
    return {"what": "answers equal to PEFT's generate", "dtype": str(dtype), "same": same, "of": 4 * len(questions)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="llama3-8b")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--rows", default="128")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--float8", action="store_true", help="the base's linear layers in float8, after the peers")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _, copy = rates(device)
    model = random_base(args.shape, device=device)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    weights -= model.get_input_embeddings().weight.numel() * model.dtype.itemsize
    print(
        json.dumps(
            {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", "copy_tbs": copy / 1e12}
        )
    )
    sizes = [int(r) for r in args.rows.split(",")]

    for dtype in (torch.float32, torch.bfloat16):
        print(json.dumps(agreement(dtype=dtype, device=device)), flush=True)

    def show(
        what: str, *, rows: int, tokens_per_s: float, first: float = 0.0, extra: float = 0.0, step: float = 0.0
    ) -> None:
        cache = (
            rows * row_bytes(layer_widths(model, slots=1), length=1, dtype=model.dtype) * (args.length + args.new / 2)
        )
        floor = rows / ((weights + cache + extra) / copy)
        line = {
            "what": what, "rows": rows, "new_tok_s": round(tokens_per_s), "first_s": round(first, 1),
            "floor_tok_s": round(floor), "of_floor": round(tokens_per_s / floor, 3),
        }  # fmt: skip
        if step:
            line |= {"decode_ms": round(1000 * step, 2), "decode_of_floor": round(rows / floor / step, 3)}
        print(json.dumps(line), flush=True)

    for rows in sizes:
        if not args.no_peers:
            tokens_per_s = stock(model, rows=rows, length=args.length, new=args.new)
            show("generate, dynamic cache, no adapter", rows=rows, tokens_per_s=tokens_per_s)
    if args.float8:
        to_float8(model, device=device)
    layout = layout_of(model, rank=args.rank, alpha=args.rank, targets=LINEARS)
    stacked = StackedModel(model, layout, compiled=device.type == "cuda" and not args.eager)
    for rows in sizes:
        for k in (1, 8):
            adapters = torch.stack([layout.initial(seed=i) for i in range(2)])[[i % 2 for i in range(k)]].to(device)
            first, tokens_per_s, step = packed(stacked, adapters, rows=rows, length=args.length, new=args.new)
            extra = k * layout.size * model.dtype.itemsize
            show(f"xlharm, {k} adapters", rows=rows, tokens_per_s=tokens_per_s, first=first, step=step, extra=extra)
    if args.profile:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            packed(stacked, adapters, rows=sizes[-1], length=args.length, new=args.new // 4)
        print(profiled.key_averages().table(sort_by="self_device_time_total", row_limit=24, max_name_column_width=90))
    uninstall(model)


if __name__ == "__main__":
    main()
