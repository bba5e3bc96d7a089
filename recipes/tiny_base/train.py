"""Train the tiny base: ``python train.py OUT [--family gpt2 --tokens 200e6 …]`` on one GPU, in minutes.

Every family learns the same documents with the same tokenizer. A base in bfloat16 has at most 10 MB. Neither Ray nor a
network is needed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import time
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from documents import Known, Mix, world
from network import FAMILIES, Llama, Shape, Transformers, network, save
from tokenizers import Tokenizer
from tokens import BOS, PAD, corpus, train_tokenizer

from xlharm.corpus.tinyworld import LANGUAGES
from xlharm.corpus.tinyworld.language import load
from xlharm.corpus.tinyworld.names import spell

SEQUENCE = 256
Network = Llama | Transformers


def arguments() -> argparse.Namespace:
    """Parse the command line; every share of the mix is a flag."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--family", choices=FAMILIES, default="llama")
    parser.add_argument("--tokens", type=float, default=200e6)
    parser.add_argument("--entities", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1e9, help="the schedule ends by then")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--questions", type=int, default=300, help="asked at the end, a language and sort")
    for field in (*fields(Shape), *fields(Mix)):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    return parser.parse_args()


@torch.no_grad()
def accuracy(
    model: Network, tokenizer: Tokenizer, known: list[Known], *, sort: str, questions: int
) -> dict[str, float]:
    """Return the percentage of questions answered exactly, for each language.

    Args:
        model: the trained model.
        tokenizer: its tokenizer.
        known: entities to ask about.
        sort: ``seen`` asks facts that pairs in the language taught, ``crossed`` facts that were taught in other
            languages only.
        questions: largest number of questions for each language.
    """
    random_, device, percentages = random.Random(5), next(model.parameters()).device, {}
    for code in LANGUAGES:
        prompts, answers = [], []
        pool = [
            (k, r) for k in known for r in k.entity.facts if (r in k.asked_relations.get(code, [])) == (sort == "seen")
        ]
        for k, relation in random_.sample(pool, min(questions, len(pool))):
            language = load(code)
            question = language.question(relation, random_.randrange(4), name=spell(k.entity.name, code))
            prompts.append([BOS, *tokenizer.encode(f"Q: {question}\nA:").ids])
            answers.append(tokenizer.encode(f" {language.forms(relation, k.entity.facts[relation])[0]}\n").ids)
        if prompts:
            percentages[code] = round(100 * _exact(model, prompts, answers, device) / len(prompts), 1)
    return percentages


def _exact(model: Network, prompts: list[list[int]], answers: list[list[int]], device: torch.device) -> int:
    """Count the answers that greedy decoding would give exactly.

    Teacher forcing is enough: it agrees with greedy decoding if all tokens are right.
    """
    width = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    ids = torch.full((len(prompts), width), PAD)
    for i, (p, a) in enumerate(zip(prompts, answers, strict=True)):
        ids[i, : len(p) + len(a)] = torch.tensor(p + a)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        best = model(ids.to(device)).argmax(-1).cpu()
    pairs = enumerate(zip(prompts, answers, strict=True))
    return sum(best[i, len(p) - 1 : len(p) + len(a) - 1].tolist() == a for i, (p, a) in pairs)


def optimisers(model: Network, rate: float, *, fused: bool) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and re.search(r"\.\d+\.", name)]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.01, fused=fused),
    ]


def fit(model: Network, data: torch.Tensor, a: argparse.Namespace) -> list[tuple[int, float]]:
    """Train for one pass over the data; return the loss curve."""
    device = data.device
    compiled = torch.compile(model) if device.type == "cuda" and isinstance(model, Llama) else model
    steps, losses = len(data) // a.batch, []
    order = torch.randperm(len(data), device=device)
    both, begun = optimisers(model, a.rate, fused=device.type == "cuda"), time.monotonic()
    for step in range(steps):
        # The schedule follows the steps, or the clock when that is shorter, so that the rate always reaches 0.
        done = max(step / steps, (time.monotonic() - begun) / a.seconds)
        if done >= 1:
            break
        cool = 0.5 * (1 + math.cos(math.pi * (done - 0.3) / 0.7)) if done > 0.3 else 1
        rate = max(a.rate * min(1, (step + 1) / 100) * cool, a.rate * 0.01)
        for optimiser in both:
            for group in optimiser.param_groups:
                group["lr"] = rate
        batch = data[order[step * a.batch : (step + 1) * a.batch]].long()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = compiled(batch[:, :-1].contiguous(), batch[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in both:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        if step % 250 == 0 or step == steps - 1:
            losses.append((step, loss.item()))
            speed = (step + 1) * a.batch * SEQUENCE / (time.monotonic() - begun) / 1e6
            print(f"[{a.out.name}] {step}/{steps} loss {loss.item():.4f} {speed:.2f}M tok/s", flush=True)
    return losses


def main() -> None:
    """Make the documents, train, measure, save."""
    a = arguments()
    a.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mix = Mix(**{f.name: getattr(a, f.name) for f in fields(Mix)})
    begun = time.monotonic()
    path = a.out / "bpe.json"
    tokenizer = train_tokenizer(path, vocabulary=a.vocabulary)
    ids = corpus(path, tokens=int(a.tokens), entities=a.entities, mix=mix, processes=a.processes)
    rows = len(ids) // SEQUENCE
    data = torch.from_numpy(ids[: rows * SEQUENCE].reshape(rows, SEQUENCE).astype(np.int16)).to(device)
    print(f"[{a.out.name}] {len(ids) / 1e6:.0f}M tokens in {time.monotonic() - begun:.0f}s", flush=True)
    shape = Shape(**{f.name: getattr(a, f.name) for f in fields(Shape)} | {"vocabulary": tokenizer.get_vocab_size()})
    model = network(a.family, shape).to(device)
    losses = fit(model, data, a)
    general, reserved = world(a.entities, mix)
    split = [k for k in general if not k.full]
    report = {
        "seen": accuracy(model, tokenizer, general, sort="seen", questions=a.questions),
        "crossed": accuracy(model, tokenizer, split, sort="crossed", questions=a.questions),
        "reserved": accuracy(model, tokenizer, reserved, sort="seen", questions=a.questions),
    }
    print(f"[{a.out.name}] {time.monotonic() - begun:.0f}s {json.dumps(report)}", flush=True)
    save(model, str(path), str(a.out))
    path.unlink()
    info = {"family": a.family, "shape": asdict(shape), "mix": asdict(mix), "entities": a.entities,
            "tokens": int(a.tokens), "seed": a.seed,
            "parameters": sum(p.numel() for p in model.parameters()), "loss": losses, "accuracy": report}  # fmt: skip
    (a.out / "info.json").write_text(json.dumps(info, indent=1) + "\n")


if __name__ == "__main__":
    main()
