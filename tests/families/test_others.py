"""Encoder-decoders and masked models: what is trained, weighed and answered is what PEFT gives."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.conftest import WORDS, mini_items
from tests.families.others import ENCODER_DECODERS, MASKS, other_base
from tests.families.small import stirred
from xlharm.config.training import Training
from xlharm.corpus.rows import Row
from xlharm.corpus.sampling import BatchPart, Sampler, Stream
from xlharm.errors import UserError
from xlharm.evaluate.checks import check_base
from xlharm.evaluate.generate import generate
from xlharm.evaluate.likelihood import likelihoods
from xlharm.methods.npo import Npo
from xlharm.methods.rmu import Rmu
from xlharm.model.base import configuration, depth, head, last_hidden, load_base
from xlharm.model.layout import Layout, layout_of
from xlharm.model.lora import AdapterPool, StackedModel
from xlharm.model.targets import all_linear
from xlharm.model.text import auto_class
from xlharm.model.tokenizer import load_tokenizer
from xlharm.plan.base_files import folder_base
from xlharm.stages.context import join_group
from xlharm.train.engine import PackEngine
from xlharm.train.forward import PackModel, Request
from xlharm.train.loop import train_pack
from xlharm.train.slots import BatchShare, Slot
from xlharm.train.terms import FINE_TUNING, LossTerms

CPU = torch.device("cpu")
MASK, BEGIN, END = 4, 2, 2  # ids; END is one of the words for mT5, which is right here
QUICK, SLOW = ("mt5", "bert"), ("t5", "bart", "nllb", "xlm-roberta")
assert {*QUICK, *SLOW} == {*ENCODER_DECODERS, *MASKS}
TEXTS = [text for language in WORDS for item in mini_items(language) for text in item["real"]]


class Pair:
    """A base as xlharm runs it, and plain PEFT on transformers' own model."""

    def __init__(self, kind: str, folder: Path) -> None:
        from peft import LoraConfig, get_peft_model

        source = folder_base(other_base(kind, folder, TEXTS))
        self.masked, self.folder = source.kind == "masked", folder
        model = load_base(source, dtype="float32", device=CPU)
        layout = layout_of(model, rank=4, alpha=8.0, targets=all_linear(model))
        self.stacked = StackedModel(model, layout, path=source.kind)  # type: ignore[arg-type] # not causal
        own = auto_class(configuration(source)).from_pretrained(folder).eval()
        names = [segment.name for segment in layout.segments]
        self.plain: Any = get_peft_model(own, LoraConfig(r=4, lora_alpha=8, target_modules=names)).eval()
        self.values = torch.randn(2, layout.size, generator=torch.Generator().manual_seed(1)) * 0.1

    @property
    def layout(self) -> Layout:
        return self.stacked.layout

    def parameters(self) -> list[Tensor]:
        """Return PEFT's matrices in the order of a flat adapter."""
        named = dict(self.plain.named_parameters())
        return [
            named[f"base_model.model.{segment.name}.lora_{leaf}.default.weight"]
            for segment in self.layout.segments
            for leaf in "AB"
        ]

    @torch.no_grad()
    def use(self, adapter: Tensor) -> None:
        pieces = torch.split(adapter, self.layout.pieces())
        for parameter, piece in zip(self.parameters(), pieces, strict=True):
            parameter.copy_(piece.view_as(parameter))
            parameter.grad = None

    def gradient(self) -> Tensor:
        return torch.cat([p.grad.flatten() for p in self.parameters() if p.grad is not None])

    def hidden(self, row: Row, layer: int) -> Tensor:
        """Return the hidden states of a row's loss tokens after a decoder layer."""
        (one,) = _ids(row)
        states: Tensor
        if self.masked:
            states = self.plain(input_ids=one, output_hidden_states=True).hidden_states[layer + 1][0, list(row.masked)]
            return states
        read = torch.tensor([row.source])
        out = self.plain(input_ids=read, decoder_input_ids=one, output_hidden_states=True)
        states = out.decoder_hidden_states[layer + 1][0, row.start - 1 : -1]
        return states

    def logp(self, row: Row) -> Tensor:
        """Return the log-probabilities of a row's loss tokens: of all after its start, or of those that are masked."""
        (one,) = _ids(row)
        if self.masked:
            logits = self.plain(input_ids=one).logits[0, list(row.masked)]
            labels = [row.ids[i] for i in row.masked]
        else:
            logits = self.plain(input_ids=torch.tensor([row.source]), decoder_input_ids=one).logits[
                0, row.start - 1 : -1
            ]
            labels = list(row.ids[row.start :])
        logp: Tensor = logits.log_softmax(-1).gather(-1, torch.tensor(labels)[:, None])[:, 0]
        return logp

    @torch.no_grad()
    def answer(self, source: Sequence[int], *, most: int) -> list[int]:
        ids = [BEGIN]
        while len(ids) <= most and (len(ids) == 1 or ids[-1] != END):
            logits = self.plain(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([ids])).logits
            ids.append(int(logits[0, -1].argmax()))
        return ids[1:]


def _ids(row: Row) -> list[Tensor]:
    return [torch.tensor([[MASK if i in row.masked else token for i, token in enumerate(row.ids)]])]


def rows_of(tested: Pair, *, seed: int, lengths: Sequence[int]) -> list[Row]:
    generator = torch.Generator().manual_seed(seed)

    def some(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, 40, (count,), generator=generator).tolist())

    if tested.masked:
        return [Row(some(n), 0, masked=tuple(range(1, n, 3)), mask=MASK) for n in lengths]
    return [Row((BEGIN, *some(n)), 1, some(2 * n % 17 + 1)) for n in lengths]


@pytest.fixture(scope="module")
def tested(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(request.param, tmp_path_factory.mktemp(request.param))


every = pytest.mark.parametrize(
    "tested", [*QUICK, *(pytest.param(kind, marks=pytest.mark.heavy) for kind in SLOW)], indirect=True
)
writing = pytest.mark.parametrize(
    "tested", ["mt5", *(pytest.param(k, marks=pytest.mark.heavy) for k in SLOW if k in ENCODER_DECODERS)], indirect=True
)


@every
def test_likelihoods_are_those_of_peft(tested: Pair) -> None:
    rows = rows_of(tested, seed=0, lengths=(6, 2, 9, 23, 11))
    found = likelihoods(tested.stacked, tested.values, rows, batch=6)
    for value, mine in zip(tested.values, found, strict=True):
        tested.use(value)
        for row, likelihood in zip(rows, mine, strict=True):
            torch.testing.assert_close(torch.tensor(likelihood.logp), tested.logp(row).detach(), atol=1e-5, rtol=1e-5)


@every
def test_gradients_are_those_of_peft(tested: Pair) -> None:
    groups = [rows_of(tested, seed=1, lengths=(23, 6)), rows_of(tested, seed=2, lengths=(12, 3, 11))]
    pool, requests = AdapterPool(slots=2, size=tested.layout.size, device=CPU), []
    for slot, value, rows in zip(pool.slots, tested.values, groups, strict=True):
        slot.data.copy_(value)
        ends = [0, *torch.tensor([len(row.ids) for row in rows]).cumsum(0).tolist()]
        places = [at + p for at, row in zip(ends, rows, strict=False) for p in row.predicting]
        labels = [label for row in rows for label in row.labels]
        requests.append(Request(positions=torch.tensor(places), labels=torch.tensor(labels)))
    sources = [[row.source for row in rows] for rows in groups]
    ragged = tested.stacked.rows([[row.inputs for row in rows] for rows in groups], sources=sources)
    found = PackModel(tested.stacked, pool)(ragged, requests, [None, None])
    torch.stack([logp.mean() for logp, _, _ in found]).sum().backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
    for (logp, _, _), slot, value, rows in zip(found, pool.slots, tested.values, groups, strict=True):
        tested.use(value)
        own = torch.cat([tested.logp(row) for row in rows])
        own.mean().backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        torch.testing.assert_close(logp, own, atol=1e-5, rtol=1e-5)
        assert slot.grad is not None
        assert float((slot.grad - tested.gradient()).norm() / tested.gradient().norm()) < 1e-5


def terms() -> list[LossTerms]:
    npo = Npo.model_validate({"objective": "npo", "beta": 0.5})
    return [FINE_TUNING, LossTerms.of_method(npo, seed=0)]


@pytest.mark.slow
@every
def test_three_steps_of_training_are_those_of_peft(tested: Pair) -> None:
    rows = [rows_of(tested, seed=k, lengths=(9, 4, 13, 6)) for k in (3, 4)]
    streams = [
        Stream(target=(BatchPart(Sampler(tuple((row,) for row in some), seed=k, purpose="test"), 2),))
        for k, some in enumerate(rows)
    ]
    training = Training(steps=3, batch_size=2, learning_rate=1e-2, schedule="constant")
    join_group(rank=0, world=1, master=None, device=CPU)
    engine = PackEngine(tested.stacked, slots=2, zero=0, world=1, device=CPU)
    slots = [
        Slot(training=training, terms=t, stream=s, initial=v, mask=None)
        for t, s, v in zip(terms(), streams, tested.values, strict=True)
    ]
    trained = train_pack(engine, slots, rows=BatchShare(micro=1))
    for k, (result, stream, value) in enumerate(zip(trained, streams, tested.values, strict=True)):
        own = _trained_by_peft(tested, value, [stream.batch(step).target for step in range(3)], npo=k == 1)
        assert float((result.adapter - own).norm() / (own - value).norm()) < 1e-3


def _trained_by_peft(tested: Pair, value: Tensor, batches: list[list[Row]], *, npo: bool) -> Tensor:
    tested.use(value)
    with torch.no_grad():
        before = {row: tested.logp(row).sum() for batch in batches for row in batch}
    optimizer = torch.optim.AdamW(tested.parameters(), lr=1e-2, weight_decay=0.0)
    for batch in batches:
        optimizer.zero_grad()
        if npo:
            apart = torch.stack([tested.logp(row).sum() - before[row] for row in batch])
            loss = -(2 / 0.5) * torch.nn.functional.logsigmoid(-0.5 * apart).mean()
        else:
            loss = -torch.cat([tested.logp(row) for row in batch]).mean()
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(tested.parameters(), 1.0)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in tested.parameters()])


@pytest.mark.slow
@writing
def test_answers_are_those_of_peft_without_a_cache(tested: Pair) -> None:
    sources = [row.source for row in rows_of(tested, seed=5, lengths=(3, 8, 1, 6, 5))]
    found = generate(
        tested.stacked, tested.values, sources, stops=frozenset({END}), max_new_tokens=6, rows=6, begun=(BEGIN,)
    )
    for value, answers in zip(tested.values, found, strict=True):
        tested.use(value)
        assert answers == [tested.answer(source, most=6) for source in sources]


@every
def test_hidden_states_are_those_after_a_decoder_layer(tested: Pair) -> None:
    """RMU reads them: of an encoder-decoder those of its decoder."""
    rows = rows_of(tested, seed=6, lengths=(7, 4))
    method = Rmu.model_validate({"objective": "rmu", "layer": 0, "retain": "none"})
    places = [at + p for at, row in zip((0, len(rows[0].ids)), rows, strict=True) for p in row.predicting]
    request = Request(
        positions=torch.tensor(places), labels=torch.tensor([y for row in rows for y in row.labels]), layer=0
    )
    pool = AdapterPool(slots=1, size=tested.layout.size, device=CPU)
    pool.slots[0].data.copy_(tested.values[0])
    ragged = tested.stacked.rows([[row.inputs for row in rows]], sources=[[row.source for row in rows]])
    ((_, _, hidden),) = PackModel(tested.stacked, pool)(ragged, [request], [None])
    tested.use(tested.values[0])
    assert hidden is not None
    assert method.hidden_layer(2) == 0
    torch.testing.assert_close(hidden, torch.cat([tested.hidden(row, 0) for row in rows]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tested", ["bert"], indirect=True)
def test_the_names_in_files_of_the_public_bert_are_read(tested: Pair, tmp_path: Path) -> None:
    """They are older than transformers' own, and hold parts that are not used."""
    shutil.copytree(tested.folder, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): weight
        for name, weight in weights.items()
    }
    unused = {"bert.pooler.dense.weight": torch.zeros(64, 64), "cls.seq_relationship.bias": torch.zeros(2)}
    save_file({**old, **unused}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "model_max_length": 512}')
    source = folder_base(tmp_path)
    model, ids = load_base(source, dtype="float32", device=CPU), torch.arange(5, 15)[None]
    with tested.plain.disable_adapter():
        torch.testing.assert_close(model(ids).logits, tested.plain(input_ids=ids).logits)
    assert load_tokenizer(source).mask == MASK


@every
def test_a_base_passes_its_checks(tested: Pair) -> None:
    assert check_base(tested.stacked, longest=40).startswith("rows computed together: within")


def _breaks(monkeypatch: pytest.MonkeyPatch, name: str, change: Any) -> None:
    from xlharm.evaluate import checks

    real = getattr(checks, name)
    monkeypatch.setattr(checks, name, lambda *args, **named: real(*args, **change(named)))


@pytest.mark.parametrize("tested", QUICK, indirect=True)
def test_padding_that_is_read_is_refused(tested: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    _breaks(monkeypatch, "last_hidden", lambda named: {**named, "real": None, "sources_real": None})
    with pytest.raises(UserError, match="reads padding: a token that must stay the same moved"):
        check_base(tested.stacked, longest=20)


@pytest.mark.parametrize("tested", ["bert"], indirect=True)
def test_a_masked_model_that_does_not_look_ahead_is_refused(tested: Pair) -> None:
    settings: Any = tested.stacked.model.config
    before, settings._attn_implementation = settings._attn_implementation, "xlharm_own"
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    def causal(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **others: Any) -> Any:
        return sdpa_attention_forward(module, query, key, value, None, **{**others, "is_causal": True})

    AttentionInterface.register("xlharm_own", causal)
    try:
        with pytest.raises(UserError, match="does not read what follows a token: it cannot fill in masks"):
            check_base(tested.stacked, longest=20)
    finally:
        settings._attn_implementation = before


def test_a_base_with_a_configuration_for_each_part_is_known(tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, T5GemmaConfig

    part = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "head_dim": 8,
        "num_key_value_heads": 2, "final_logit_softcapping": 0.5,
    }  # fmt: skip
    config = T5GemmaConfig(
        encoder={**part, "num_hidden_layers": 3}, decoder={**part, "num_hidden_layers": 2}, vocab_size=64,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    plain = stirred(AutoModelForSeq2SeqLM.from_config(config).eval().requires_grad_(requires_grad=False))
    plain.save_pretrained(tmp_path)
    model: Any = load_base(folder_base(tmp_path), dtype="float32", device=CPU)
    assert depth(model) == 2
    ids, read = torch.tensor([[5, 9, 31, 44]]), torch.tensor([[7, 8, 13]])
    right = plain(input_ids=read, decoder_input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(head(model, last_hidden(model, ids, sources=read)), right)
