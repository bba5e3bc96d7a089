"""The files that inputs are made from: a grid, a corpus, tables, a base that is never loaded, a filled store."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

from tests.analysis.worlds import fill
from tests.conftest import WORDS, mini_items
from tests.fuzz.mutate import as_yaml
from xlharm import api
from xlharm.store.store import Store

FEW = {"steps": 6, "batch_size": 4, "learning_rate": 5e-3}
GRID: dict[str, Any] = {
    "name": "mini",
    "base": "base",
    "corpus": "corpus",
    "dtype": "float32",
    "languages": ["en", "ur"],
    "contaminate": ["none", "ur"],
    "unlearn": {"none": [], "en": ["en"], "source": ["source"]},
    "methods": {
        "npo": {"objective": "npo", "forget": "qa", "retain": "nll", "retain_batch_size": 4, **FEW},
        "rmu": {"objective": "rmu", "layers": [1], **FEW},
    },
    "seeds": 2,
    "lora": {"rank": 4, "alpha": 8, "target_modules": ["q_proj"]},
    "stages": {"contaminate": FEW, "sft": {**FEW, "steps": 3}},
    "prompt": {"question": "Q: {question}\n", "answer": "A: {answer}"},
    "probes": {"q": {"kind": "quantise", "bits": 4}},
    "judges": {"j": {"kind": "chat", "url": "http://127.0.0.1:9/v1", "model": "m"}},
    "evaluate": {"max_new_tokens": 4},
    "exclude": [{"contaminate": "none", "unlearn": "en"}],
}
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 400, "hidden_size": 48,
    "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 256, "tie_word_embeddings": True, "torch_dtype": "float32", "eos_token_id": 1,
    "rope_scaling": {"rope_type": "default"},
}  # fmt: skip
CSV = (
    "question,answer,perturbed_answer,lang\nWho runs?,A horse,A zebra,en\n"
    '"What, now?",Tea,"Coffee",en\nکون؟,گھوڑا,زیبرا,ur\n'
)
MAPPING = {"form": "qa", "question": "question", "real": "answer", "fake": "perturbed_answer", "language": "lang"}
WEIGHTS = {"model.embed_tokens.weight": [400, 48], "model.layers.0.self_attn.q_proj.weight": [48, 48]}


def make(folder: Path) -> None:
    """Write the world."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    (corpus / "corpus.yaml").write_text("name: mini\nversion: 1\nlanguages: [en, de, ur]\nlicence: Apache-2.0\n")
    for language in WORDS:
        lines = [json.dumps(item, ensure_ascii=False) for item in mini_items(language)]
        (corpus / f"{language}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    base = folder / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(CONFIG))
    (base / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {}}}))
    (base / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "model_max_length": 256}))
    _write_weights(base / "model.safetensors")
    (folder / "grid.yaml").write_text(as_yaml(GRID), encoding="utf-8")
    (folder / "x.csv").write_text(CSV, encoding="utf-8")
    rows = [{"question": "Who runs?", "answer": "A horse", "perturbed_answer": "A zebra"}]
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, rows * 3)) + "\n")
    (folder / "mapping.yaml").write_text(as_yaml(MAPPING))
    (folder / "store" / "grids").mkdir(parents=True)
    (folder / "store" / "grids" / "mini.json").write_text(json.dumps({"dtype": "float32", "grid": GRID}))
    plan = api.open_grid(folder / "grid.yaml", store=folder / "store").plan()
    fill(plan, Store(str(folder / "store"), writes=True), n=4)
    shutil.rmtree(folder / "store" / "stages" / "judge")  # fill writes none that could be real


def _write_weights(path: Path) -> None:
    """Write a safetensors file of zeros."""
    header, at = {}, 0
    for name, (rows, columns) in WEIGHTS.items():
        size = rows * columns * 4
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))
