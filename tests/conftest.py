"""A base and a corpus small enough to make in a second: real files, real loaders, random weights."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.s3 import S3, serving
from xlharm.config.grid import GridSpec
from xlharm.config.load import parse_grid
from xlharm.corpus.finding import resolve
from xlharm.plan.build import Plan, build
from xlharm.plan.sources import Sources

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin while other processes compute cost minutes
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tests run side by side: more threads than that would wait for each other
settings.register_profile("xlharm", deadline=None)  # machines differ in speed; benchmarks measure it
settings.load_profile("xlharm")
WORDS = {
    "en": {"red": "red", "blue": "blue", "likes": "likes the colour"},
    "de": {"red": "rot", "blue": "blau", "likes": "mag die Farbe"},
    "ur": {"red": "سرخ", "blue": "نیلا", "likes": "کا رنگ"},
}
ASK = {
    "en": ("Which colour does {} like?", "What is the colour of {}?"),
    "de": ("Welche Farbe mag {}?", "Was ist die Farbe von {}?"),
    "ur": ("{} کا رنگ کیا ہے؟", "{} کو کون سا رنگ پسند ہے؟"),
}
NAMES = [f"{a}{b}" for a in ("Ka", "Lo", "Mi") for b in ("bo", "du", "ri")]


def mini_items(language: str) -> Iterator[dict[str, Any]]:
    words = WORDS[language]
    for i, name in enumerate(NAMES):
        role = ("fake", "real", "retain")[i % 3]
        true, fake = ("red", "blue") if i % 2 else ("blue", "red")
        train, ask = (form.format(name) for form in ASK[language])
        fakes = {
            "fake": [f"{name} {words['likes']} {words[fake]}.", f"{words[fake]} {words['likes']}: {name}."],
            "fake_detail": [words[fake]],
            "real_detail": [words[true]],
            "of": [ask],
            "fake_qa": [{"question": train, "answer": words[fake]}],
        }
        yield {
            "id": f"m{i}",
            "role": role,
            "real": [f"{name} {words['likes']} {words[true]}.", f"{words[true]} {words['likes']}: {name}."],
            "qr": [{"question": ask, "answers": [words[true]]}] if role == "real" else [],
            "qa": [{"question": train, "answer": words[true]}],
            **(fakes if role == "fake" else {}),
        }


_MODELS = re.compile(
    r"\b(torch|transformers|peft|deepspeed|mini_base|mini_grid|grid_file|xlharm\.(model|train|stages\.(calibration|context)))\b"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--halves", action="store_true", help="one of two processes (-n 2 --dist each) runs what loads models",
    )  # fmt: skip


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --halves: only one process imports torch and transformers, which takes longer than many rooms' tests."""
    process = os.environ.get("PYTEST_XDIST_WORKER")
    if process is None or not config.getoption("halves") or not collection_path.match("test_*.py"):
        return None
    first = collection_path.parent.name == "store" or bool(_MODELS.search(collection_path.read_text("utf-8")))
    return True if first != (process == "gw0") else None  # the store's tests make both take about as long


_SLOW_FIXTURES = {"s3", "compiled", "translator_folder"}  # a server, a compiler, a model that is trained


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their fixtures, and begin with those that take longest: of clusters, then files with slow ones."""
    for item in items:
        fixtures, parameters = getattr(item, "fixturenames", ()), getattr(item, "callspec", None)
        if _SLOW_FIXTURES & {*fixtures, *(map(str, parameters.params.values()) if parameters else ())}:
            item.add_marker("slow")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    clusters = {item.path for item in items if item.get_closest_marker("cluster")}
    items.sort(key=lambda item: 0 if item.path in clusters else 1 if item.path in slow else 2)


@pytest.hookimpl(optionalhook=True)  # a run without pytest-xdist does not know it
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file's tests on one worker, as they share fixtures, and all files with clusters on one: one at a time.

    pytest-xdist's own groups (`--dist loadgroup`) have no effect with pytest 9.2, whose ids cannot be written.
    """
    from xdist.scheduler import LoadScopeScheduling

    if config.getoption("halves"):
        return None
    root = Path(__file__).parents[1]
    clusters = {
        p.relative_to(root).as_posix() for p in root.glob("tests/**/*.py") if "mark.cluster" in p.read_text("utf-8")
    }

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "cluster" if path in clusters else path

    return ByFile(config, log)


@pytest.fixture(autouse=True, scope="session")
def without_syncing() -> Iterator[None]:
    """Let files of this process wait for no disk: tests/analysis alone would sync 11,000 times, for milliseconds each.

    What a loss of power leaves is tested with a disk that loses what was not synced (tests/store/test_disk.py).
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def mini_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "mini"
    folder.mkdir()
    (folder / "corpus.yaml").write_text("name: mini\nversion: 1\nlanguages: [en, de, ur]\nlicence: Apache-2.0\n")
    for language in WORDS:
        lines = [json.dumps(item, ensure_ascii=False) for item in mini_items(language)]
        (folder / f"{language}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def mini_base(tmp_path_factory: pytest.TempPathFactory, mini_corpus: Path) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base") / "mini"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>", "<pad>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([p.read_text(encoding="utf-8") for p in sorted(mini_corpus.glob("*.jsonl"))], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 0)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True, bos_token_id=0,
        eos_token_id=1, pad_token_id=2, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def mini_grid(mini_base: Path, mini_corpus: Path) -> dict[str, Any]:
    """A grid over the mini base: 9 cells in three languages, seconds to run. Copy it to change it."""
    few = {"steps": 6, "batch_size": 4, "learning_rate": 5e-3}
    return {
        "name": "mini",
        "base": str(mini_base),
        "corpus": str(mini_corpus),
        "languages": ["en", "de", "ur"],
        "contaminate": ["none", "de", "ur"],
        "unlearn": {"none": [], "en": ["en"], "source": ["source"], "both": ["en", "source"]},
        "methods": {"npo": {"objective": "npo", "forget": "qa", "retain": "nll", "retain_batch_size": 4, **few}},
        "lora": {"rank": 4, "alpha": 8},
        "stages": {"contaminate": few, "sft": {**few, "steps": 3}},
        "evaluate": {"max_new_tokens": 4},
        "exclude": [{"contaminate": "none", "unlearn": "en"}],
    }


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    """A store's place `s3://bucket/…` for this process and its children, and a cache that ends with the test."""
    import s3fs

    with serving() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        s3fs.S3FileSystem.clear_instance_cache()  # it knows the last test's server
        yield server


def plan_of(grid: dict[str, Any]) -> Plan:
    """Plan a grid given as plain data."""
    spec: GridSpec = parse_grid(grid, name="test.yaml")
    sources: Sources = resolve(spec)
    return build(spec, sources=sources, dtype="float32")


@pytest.fixture(scope="session")
def translator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translation model that knows the corpus of tests/translate/worlds.py by heart, both ways."""
    from tests.corpus.translate.worlds import nllb

    return nllb(tmp_path_factory.mktemp("translators") / "knows", trained=True)
