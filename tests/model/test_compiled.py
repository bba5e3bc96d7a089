"""Compiled code is made once a kind of input, for sizes that are always the same: no worker's past is in it."""

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.backends.registry import lookup_backend
from torch._inductor.runtime.cache_dir_utils import cache_dir
from transformers import LlamaConfig, LlamaForCausalLM

from xlharm.corpus.rows import Row
from xlharm.evaluate.generate import generate
from xlharm.evaluate.likelihood import likelihoods
from xlharm.model.compiled import keep_compiled_code
from xlharm.model.layout import layout_of
from xlharm.model.lora import AdapterPool, StackedModel
from xlharm.model.ragged import Ragged
from xlharm.train.forward import PackModel, Request

pytestmark = pytest.mark.slow
Sizes = list[tuple[int, ...]]
PACKS: list[Sizes] = [[(90, 40), (7,), (33, 21, 5)], [(11, 12), (50, 64)], [(9,), (200, 3), (60,), (8, 8), (30,)]]
ALONE: list[Sizes] = [[(30, 20)], [(90, 16, 4)]]


COMPILED_FOR: list[list[tuple[int, ...]]] = []


def compiler(graph: Any, inputs: list[Any]) -> Any:
    """Compile without a compiler of C++: what counts is when code is asked for, and for which sizes."""
    COMPILED_FOR.append([tuple(int(n.node.hint if isinstance(n, torch.SymInt) else n) for n in x.shape)
                         for x in inputs if isinstance(x, Tensor)])  # fmt: skip
    return lookup_backend("aot_eager")(graph, inputs)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[StackedModel]:
    real = torch.compile

    def without_options(function: Any, *, options: Any, **others: Any) -> Any:
        assert options == {"deterministic": True}
        return real(function, backend=compiler, **others)

    monkeypatch.setattr(torch, "compile", without_options)
    torch._dynamo.reset()
    COMPILED_FOR.clear()
    yield stacked_base(compiled=True)
    torch._dynamo.reset()


def stacked_base(*, compiled: bool) -> StackedModel:
    # grouped products are compiled in bfloat16 only
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2)  # fmt: skip
    config._attn_implementation = "sdpa"
    model = LlamaForCausalLM(config).bfloat16().requires_grad_(requires_grad=False).eval()
    return StackedModel(model, layout_of(model, rank=8, alpha=8, targets=("q_proj", "down_proj")), compiled=compiled)


def adapters(stacked: StackedModel, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, stacked.layout.size, generator=generator) * 0.1


def rows_of(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [tuple((7 * i + 3 * n) % 512 for i in range(n)) for n in sizes]


def learnt(stacked: StackedModel, sizes: Sizes, *, layer: int | None = None, steady: int | None = 200) -> Tensor:
    """Return the gradients of a step's losses."""
    values = adapters(stacked, len(sizes))
    pool = AdapterPool(slots=len(sizes), size=stacked.layout.size, device=values.device)
    for slot, value in zip(pool.slots, values, strict=True):
        slot.data.copy_(value)
    ragged = Ragged.of([rows_of(n) for n in sizes], steady=steady)
    requests = [
        Request(positions=torch.arange(n[0] - 1), labels=torch.tensor(rows_of(n)[0][1:]), layer=layer) for n in sizes
    ]
    results = PackModel(stacked, pool)(ragged, requests, [None] * len(sizes))
    loss = sum(logp.sum() + (hidden.sum() if layer else 0) for logp, _, hidden in results)
    loss.backward()
    return torch.stack([slot.grad for slot in pool.slots])


def answered(stacked: StackedModel, sizes: Sizes) -> Tensor:
    """Return answers of as many adapters as there are sizes to the prompts of the first."""
    answers = generate(stacked, adapters(stacked, len(sizes)), rows_of(sizes[0] + sizes[-1]), stops=frozenset(),
                    max_new_tokens=8, rows=12)  # fmt: skip
    return torch.tensor(answers)


def weighed(stacked: StackedModel, sizes: Sizes) -> Tensor:
    """Return the log-probabilities of the rows' tokens."""
    rows = [Row(ids, 1) for mine in sizes for ids in rows_of(mine)]
    scores = likelihoods(stacked, adapters(stacked, len(sizes)), rows, batch=60)
    return torch.tensor([[x for row in mine for x in row.logp] for mine in scores])


def level(stacked: StackedModel, sizes: Sizes, *, rows: int) -> Tensor:
    """Learn from rows that are all equally long."""
    return learnt(stacked, [(8 * sum(sizes[0]),) * rows] * len(sizes), steady=None)


def in_pieces(stacked: StackedModel, sizes: Sizes) -> Tensor:
    """Learn without holding the logits of more than 16 tokens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xlharm.train.forward._CHUNK_LOGITS", 16 * 512)
        return learnt(stacked, sizes)


WORK: dict[str, Callable[..., Tensor]] = {
    "learning": learnt, "learning, hidden states": partial(learnt, layer=1),
    "learning, every length its own": partial(learnt, steady=None), "learning, one row each": partial(level, rows=1),
    "learning, rows of one length": partial(level, rows=3), "learning, in pieces": in_pieces,
    "answering": answered, "weighing": weighed,
}  # fmt: skip


OFTEN = {"learning"}  # the others compile for tens of seconds each


@pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.heavy) for name in WORK]
)
def test_code_is_made_once_for_packs_and_once_for_lone_trials_and_says_what_plain_layers_say(
    name: str, compiled: StackedModel
) -> None:
    work, plain, made = WORK[name], stacked_base(compiled=False), [0]
    for some in (PACKS, ALONE):
        for sizes in some:
            torch.testing.assert_close(work(compiled, sizes), work(plain, sizes), rtol=0.05, atol=0.05)
            made.append(len(COMPILED_FOR))
    _none, *packs, alone, other = made
    assert 0 < packs[0] == packs[1] == packs[2] < alone == other


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["learning", "answering", "weighing"])
def test_code_is_made_for_the_same_sizes_whatever_comes_first(name: str, compiled: StackedModel) -> None:
    WORK[name](compiled, PACKS[0])
    first = COMPILED_FOR.copy()
    torch._dynamo.reset()
    COMPILED_FOR.clear()
    WORK[name](stacked_base(compiled=True), PACKS[2])
    assert len(first) > 0
    assert first == COMPILED_FOR


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that what is set is undone
    return tmp_path / "xlharm" / "compiled"


@pytest.mark.parametrize("earlier", ["", f"{tempfile.gettempdir()}/torchinductor_somebody"])
def test_compiled_code_is_kept_in_a_private_folder(cache: Path, earlier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", earlier)
    assert keep_compiled_code() == cache
    assert cache.stat().st_mode & 0o777 == 0o700
    assert cache_dir() == str(cache)  # torch's own question


def test_a_folder_that_the_user_has_chosen_stays(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "mine"))
    assert keep_compiled_code() is None
    assert cache_dir() == str(tmp_path / "mine")


def test_where_nothing_can_be_written_torch_decides(cache: Path) -> None:
    cache.parent.write_text("a file", encoding="utf-8")
    assert keep_compiled_code() is None
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == ""
