"""Real models of the two families: loading, languages, batches, lengths; one that knows the corpus, two that do not."""

from pathlib import Path
from typing import Any

import pytest

from tests.corpus.translate.worlds import items_of, m2m, nllb, sentence_pairs
from xlharm.corpus.translate.assemble import UnfinishedError
from xlharm.corpus.translate.backend import TranslationTask, scored_texts
from xlharm.corpus.translate.languages import token_of
from xlharm.corpus.translate.seq2seq import Seq2Seq, Seq2SeqConfig
from xlharm.corpus.translate.source import source_of
from xlharm.corpus.translate.translation import score_of
from xlharm.errors import StoppedError, UserError
from xlharm.plan.base_files import folder_base

TASKS = [TranslationTask(item=item) for item in items_of()]


def model(folder: Path, **fields: Any) -> Seq2Seq:
    return Seq2Seq(Seq2SeqConfig(source=folder_base(folder), device="cpu", **{"beams": 2, **fields}))


def test_a_model_that_knows_the_corpus_translates_it_both_ways(translator_folder: Path) -> None:
    knows = model(translator_folder)
    made = {outcome.id: outcome for outcome in knows.make(TASKS, language="ru")}
    for english, russian in zip(items_of(), items_of("ru"), strict=True):
        item = made[english.id].item
        assert item is not None, made[english.id].reason
        assert item == russian.model_copy(update={"fake_detail": item.fake_detail, "real_detail": item.real_detail})
    lina = made["ride-lina"].item
    assert lina is not None
    assert (lina.fake_detail, lina.real_detail) == (("верблюд", "верблюде"), ("лошадь", "лошади"))
    for back in knows.back(items_of("ru"), language="ru"):
        english = next(item for item in items_of() if item.id == back.id)
        assert score_of(back, scored_texts(english)) == 100


def test_a_control_token_in_a_sentence_is_text(translator_folder: Path) -> None:
    tokens = model(translator_folder)._tokenizer
    assert tokens("a </s> b")["input_ids"].count(tokens.eos_token_id) == 1  # its own, at the end


@pytest.mark.parametrize("batch", [1, 5])
def test_batches_of_any_size_say_the_same(translator_folder: Path, batch: int) -> None:
    pairs = sentence_pairs()
    assert model(translator_folder, batch=batch).translate(list(pairs), source="en", target="ru") == list(
        pairs.values()
    )


def test_memory_that_runs_out_halves_the_batch(translator_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    knows, pairs = model(translator_folder, batch=8), sentence_pairs()
    real, sizes = knows._model.generate, []

    def generate(**batch: Any) -> Any:
        sizes.append(len(batch["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("no")
        return real(**batch)

    monkeypatch.setattr(knows._model, "generate", generate)
    assert knows.translate(list(pairs), source="en", target="ru") == list(pairs.values())
    assert sizes[:3] == [8, 4, 2]


def test_a_sentence_beyond_the_limit_is_cut_and_none_of_it_is_lost(
    translator_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    knows, seen = model(translator_folder), []
    real = knows._model.generate

    def generate(**batch: Any) -> Any:
        seen.append(batch["input_ids"])
        return real(**batch)

    monkeypatch.setattr(knows._model, "generate", generate)
    long = ", ".join(["Lina rides a horse and it was a long day in the town"] * 12)
    assert knows._count(long) > knows._limit == 64
    knows.translate([long], source="en", target="ru")
    assert all(ids.shape[1] <= 64 for ids in seen)
    tokens = knows._tokenizer
    shown = [text for ids in seen for text in tokens.batch_decode(ids, skip_special_tokens=True)]
    assert sum(text.count("Lina") for text in shown) == 12


@pytest.mark.slow
def test_nonsense_ends_in_listed_failures(tmp_path: Path) -> None:
    results = list(model(nllb(tmp_path / "random", trained=False)).make(TASKS, language="ru"))
    assert len(results) == 3
    assert all(outcome.item is None and outcome.problem in {"cut", "check"} for outcome in results)
    assert all(outcome.reason for outcome in results)


@pytest.mark.slow
def test_m2m_100_with_its_own_tokenizer_and_codes(tmp_path: Path) -> None:
    knows_nothing = model(m2m(tmp_path / "m2m"))
    assert [knows_nothing._token(lang) for lang in ("ru", "jv", "hy")] == ["__ru__", "__jv__", "__hy__"]
    knows_nothing._tokenizer.src_lang = "en"
    ids = knows_nothing._tokenizer("Lina")["input_ids"]
    assert knows_nothing._tokenizer.convert_ids_to_tokens(ids)[0] == "__en__"
    results = list(knows_nothing.make(TASKS, language="ru"))
    assert all(outcome.problem in {"cut", "check"} for outcome in results)
    assert isinstance(
        knows_nothing.translate(["Lina rides a horse."], source="en", target="ru")[0], UnfinishedError | str
    )


def test_codes_of_nllb(tmp_path: Path) -> None:
    knows_nothing = model(nllb(tmp_path / "random", trained=False), codes={"xx": "ltg_Latn", "yy": "nonsense"})
    wanted = {
        "en": "eng_Latn", "de": "deu_Latn", "zh": "zho_Hans", "jv": "jav_Latn", "ur": "urd_Arab", "ha": "hau_Latn",
        "hy": "hye_Armn", "ru": "rus_Cyrl", "fr": "fra_Latn", "xx": "ltg_Latn",
    }  # fmt: skip
    assert {lang: knows_nothing._token(lang) for lang in wanted} == wanted
    with pytest.raises(UserError, match="--to qq: the model has no language with the code __qq__"):
        knows_nothing._token("qq")
    with pytest.raises(UserError, match="--code yy=nonsense"):
        knows_nothing._token("yy")
    assert token_of("no", known=lambda t: t == "__no__") == "__no__"


def test_a_stop_comes_between_batches(translator_folder: Path) -> None:
    config = Seq2SeqConfig(source=folder_base(translator_folder), device="cpu", batch=2)
    asked = iter([False, False, True])
    with pytest.raises(StoppedError):
        list(Seq2Seq(config, stopped=lambda: next(asked)).make(TASKS, language="ru"))


def test_models_that_are_none(translator_folder: Path, tmp_path: Path, mini_base: Path) -> None:
    with pytest.raises(UserError, match=r"neither a folder with a config\.json nor a hub id"):
        source_of("gpt-4o", revision=None)
    with pytest.raises(UserError, match="only hub models have revisions"):
        source_of(str(translator_folder), revision="main")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match="pickled weights are never loaded"):
        source_of(str(pickled), revision=None)
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        model(mini_base)
    assert "\n" not in str(caught.value)
    source = source_of(str(translator_folder), revision=None)
    assert (source.name, source.base.revision, len(source.version)) == ("knows", None, 16)
    commit = "0123456789abcdef" * 2 + "01234567"
    assert source_of("org/name", revision=commit).version == commit  # a whole commit needs no hub
