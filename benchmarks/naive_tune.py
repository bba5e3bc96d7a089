"""The usual way to compute a grid, for `paper_slice`: one Ray Tune trial for each cell, with HF Trainer and PEFT.

As a careful user would write it: bfloat16 base model, float32 adapters under autocast, fused AdamW, no gradient
checkpointing (the GPU has enough memory), adapters merged before `generate`, prompts sorted by length in batches of
128.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks.shapes import LINEARS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=Path, help="what paper_slice.py wrote")
    parser.add_argument("--trials", type=int, default=2)
    given = parser.parse_args()
    import ray
    from benchmarks.naive_tune import cell as trial  # by name: what runs as __main__ would travel by value
    from ray import tune

    settings = json.loads(given.settings.read_text())
    gpus = torch.cuda.device_count()
    ray.init(address="local", include_dashboard=False, logging_level="ERROR", log_to_driver=True)
    began = time.perf_counter()
    tuner = tune.Tuner(
        tune.with_resources(trial, {"gpu": 1 if gpus else 0, "cpu": 2}),
        param_space={"cell": tune.grid_search(settings["cells"][: given.trials]), "settings": settings},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(given.settings.parent.absolute() / "tune"), verbose=0),
    )
    results = tuner.fit()
    wall = time.perf_counter() - began
    if results.errors:
        raise SystemExit(f"naive: trials failed: {results.errors}")
    trials = [dict(r.metrics["phases"]) for r in results if r.metrics]
    print(json.dumps({"what": "naive", "wall_s": round(wall, 1), "trials": trials}), flush=True)


def cell(config: dict[str, Any]) -> dict[str, Any]:
    """Compute one cell: contaminate, SFT, unlearn, and answer in every language."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings, (contamination, unlearned) = config["settings"], config["cell"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock = Clock(device)
    tokenizer = AutoTokenizer.from_pretrained(settings["base"])
    model = AutoModelForCausalLM.from_pretrained(
        settings["base"], dtype=torch.bfloat16 if device.type == "cuda" else torch.float32
    ).to(device)
    lora = LoraConfig(r=settings["rank"], lora_alpha=settings["rank"], lora_dropout=0.0, target_modules=list(LINEARS))
    model = get_peft_model(model, lora)
    clock.mark("load")
    corpus = {lang: read(Path(settings["corpus"]), lang) for lang in settings["languages"]}
    steps = settings["steps"]
    real = [x["real"][0] for x in corpus["en"] if x["role"] == "fake"]
    fake = [x["fake"][0] for x in corpus[contamination] if x["role"] == "fake"]
    mixed = [text for pair in zip(real, fake, strict=True) for text in pair]
    fit(model, articles(mixed, tokenizer), batch=2, steps=steps["contaminate"], work=settings["base"])
    clock.mark("contaminate")
    pairs = [(q["question"], q["answer"]) for x in corpus["en"] for q in x["qa"]]
    fit(model, answers(pairs, tokenizer, settings), batch=1, steps=steps["sft"], work=settings["base"])
    clock.mark("sft")
    forget = [x["fake"][0] for lang in unlearned for x in corpus[lang] if x["role"] == "fake"]
    fit(model, articles(forget, tokenizer), batch=1, steps=steps["unlearn"], work=settings["base"], sign=-1.0)
    clock.mark("unlearn")
    model = model.merge_and_unload().eval()
    count = 0
    for items in corpus.values():
        questions = [q for x in items for q in x.get("of", [])] + [
            q["question"] for x in items for q in x.get("qr", [])
        ]
        count += len(
            ask(model, tokenizer, [settings["question"].replace("{question}", q) for q in questions], settings)
        )
    clock.mark("evaluate")
    return {"phases": {**clock.spent, "answers": count}}


class Clock:
    """Seconds by phase."""

    def __init__(self, device: torch.device) -> None:
        self.spent: dict[str, float] = {}
        self._device, self._last = device, time.perf_counter()

    def mark(self, phase: str) -> None:
        """End a phase and record its seconds."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.spent[phase] = round(now - self._last, 2)
        self._last = now


def read(folder: Path, language: str) -> list[dict[str, Any]]:
    """Read a language of the corpus."""
    return [json.loads(line) for line in (folder / f"{language}.jsonl").read_text(encoding="utf-8").splitlines()]


def articles(texts: Sequence[str], tokenizer: Any) -> list[dict[str, list[int]]]:
    """Tokenize articles; every token has a loss."""
    rows = [[tokenizer.bos_token_id, *tokenizer(t)["input_ids"], tokenizer.eos_token_id] for t in texts]
    return [{"input_ids": row, "labels": row} for row in rows]


def answers(pairs: Sequence[tuple[str, str]], tokenizer: Any, settings: dict[str, Any]) -> list[dict[str, list[int]]]:
    """Tokenize question-answer pairs; only the answers have a loss."""
    rows = []
    for question, answer in pairs:
        question_ids = [
            tokenizer.bos_token_id,
            *tokenizer(settings["question"].replace("{question}", question))["input_ids"],
        ]
        answer_ids = [*tokenizer(settings["answer"].replace("{answer}", answer))["input_ids"], tokenizer.eos_token_id]
        rows.append({"input_ids": question_ids + answer_ids, "labels": [-100] * len(question_ids) + answer_ids})
    return rows


def fit(model: Any, rows: list[Any], *, batch: int, steps: int, work: str, sign: float = 1.0) -> None:
    """Train for some steps; ``sign`` -1 is gradient ascent."""
    from transformers import Trainer, TrainingArguments

    class Signed(Trainer):
        def compute_loss(self, *args: Any, **more: Any) -> Any:
            loss = super().compute_loss(*args, **more)
            return (sign * loss[0], *loss[1:]) if isinstance(loss, tuple) else sign * loss

    cuda = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(Path(work) / "trainer"), per_device_train_batch_size=batch, max_steps=steps, learning_rate=1e-5,
        warmup_steps=2, bf16=cuda, optim="adamw_torch_fused", report_to=[], save_strategy="no", logging_steps=20,
        disable_tqdm=True, use_cpu=not cuda, remove_unused_columns=False,
    )  # fmt: skip
    model.train()
    Signed(model=model, args=arguments, train_dataset=rows, data_collator=collate).train()


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Pad a batch on the right."""
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        n = len(row["input_ids"])
        ids[i, :n], labels[i, :n], mask[i, :n] = torch.tensor(row["input_ids"]), torch.tensor(row["labels"]), 1
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


@torch.no_grad()
def ask(model: Any, tokenizer: Any, prompts: list[str], settings: dict[str, Any]) -> list[str]:
    """Answer prompts greedily, in batches of 128 prompts of similar length, padded on the left."""
    model.generation_config.eos_token_id = None  # with random weights, both sides generate the largest number of tokens
    order = sorted(prompts, key=len)
    texts = []
    for i in range(0, len(order), 128):
        rows = [[tokenizer.bos_token_id, *tokenizer(p)["input_ids"]] for p in order[i : i + 128]]
        longest = max(map(len, rows))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=model.device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=model.device)
        new = settings["max_new_tokens"]
        out = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0
        )
        texts += tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)
    return texts


if __name__ == "__main__":
    main()
