"""Which rows a stage draws: the fake share in batches of any size, and languages by weight."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.corpus.letters import Letters
from xlharm.config.grid import Contaminate, Lora, Prompt
from xlharm.corpus.finding import assets
from xlharm.corpus.folder import language_digest
from xlharm.corpus.format import Item, load_language
from xlharm.corpus.pools import RowMaker, contaminate, unlearn
from xlharm.corpus.streams import Corpora
from xlharm.errors import StageError, UserError
from xlharm.plan.settings import ContaminateStage, UnlearnStage

COMMON: dict[str, Any] = {"dtype": "float32", "lora": Lora(), "prompt": Prompt()}
ROWS = RowMaker(
    load=partial(load_language, assets() / "tinyworld"),
    tokenizer=Letters(),
    prompt=Prompt(question="Q: {question}\nA:", answer=" {answer}"),
    limit=10_000,
)


@pytest.mark.parametrize(
    ("size", "share", "fakes"), [(1, 0.5, 50), (1, 0.7, 70), (2, 0.2, 40), (4, 0.1, 40), (4, 0.9, 360), (4, 0.5, 200),
                                 (10, 0.7, 700)],
)  # fmt: skip
def test_the_share_of_fakes_holds_over_the_steps_whatever_the_batch(size: int, share: float, fakes: int) -> None:
    training = Contaminate(batch_size=size, fake_share=share, real_languages=("en",), real_roles=("real",))
    stream = contaminate(ContaminateStage(**COMMON, training=training, seed=0, fake_language="de"), ROWS)
    fake_ids = {row.ids for x, item in ROWS.items(["de"], ["fake"]) for row in ROWS.articles(item.fake, language=x)}
    drawn = [stream.batch(step).target for step in range(100)]
    assert {len(rows) for rows in drawn} == {size}
    assert sum(row.ids in fake_ids for rows in drawn for row in rows) == pytest.approx(fakes, abs=1)


def test_a_mix_without_a_weight_for_a_language_of_the_set_is_refused() -> None:
    method = {"objective": "ga", "forget": "qa", "batch_size": 2, "mix": {"en": 2, "de": 1}}
    stage = UnlearnStage(**COMMON, training=method, seed=0, languages_unlearned=("en", "ur"))
    with pytest.raises(StageError, match=r"mix: no weight for ur of the unlearning set en\+ur"):
        unlearn(stage, ROWS)


def unlearning(method: dict[str, Any]) -> UnlearnStage:
    training = {"forget": "qa", "batch_size": 4, "retain_batch_size": 2, **method}
    return UnlearnStage(**COMMON, training=training, seed=0, languages_unlearned=("en",))


def test_alternatives_are_the_fake_answers_with_other_details() -> None:
    batch = unlearn(unlearning({"objective": "altpo"}), ROWS).batch(0)
    fakes = [item for _, item in ROWS.items(["en"], ["fake"])]
    stated = [details for item in fakes for details in item.fake_detail]
    assert len(batch.target) == len(batch.preferred) == 4
    for target, preferred in zip(batch.target, batch.preferred, strict=True):
        assert target.ids[: target.start] == preferred.ids[: preferred.start]  # the same question
        fake, other = (bytes(row.ids[row.start :]).decode() for row in (target, preferred))
        assert any(detail in other for detail in stated)
        asked = bytes(target.ids).decode()
        item = next(i for i in fakes if any(asked.startswith(f"Q: {p.question}") for p in i.fake_qa))
        assert any(detail in fake for detail in item.fake_detail)
        assert not any(detail in other for detail in item.fake_detail)


def test_alternatives_need_another_item() -> None:
    def one(language: str) -> tuple[Item, ...]:
        only = next(i for i in ROWS.load(language) if i.role == "fake")
        return (only.model_copy(update={"real_detail": ()}),)

    with pytest.raises(StageError, match=r"altpo: item .* in en has no `real_detail`, and no other item has another"):
        unlearn(unlearning({"objective": "altpo", "retain": "none"}), replace(ROWS, load=one))


@pytest.mark.parametrize(("retain", "whole"), [("hidden", True), ("nll", False)])
def test_rows_are_read_whole_where_the_method_says_so(retain: str, whole: bool) -> None:
    method = {"objective": "rmu", "retain": retain, "retain_text": "qa"}
    usual = unlearn(unlearning(method), ROWS).batch(0)
    batch = unlearn(unlearning({**method, "positions": "all"}), ROWS).batch(0)
    assert [row.ids for row in batch.target] == [row.ids for row in usual.target]
    assert {row.start for row in batch.target} == {1}
    assert all(row.start > 1 for row in (*usual.target, *usual.retain))
    assert all((row.start == 1) == whole for row in batch.retain)


def test_a_corpus_that_was_changed_after_planning_is_refused_and_never_mistaken(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    item = {"id": "a", "role": "real", "real": "Tiko likes gold.", "qr": [], "qa": []}
    corpora = Corpora(tmp_path, Letters())
    planned = []
    for colour in ("gold", "purple"):
        path.write_text(json.dumps({**item, "real": f"Tiko likes {colour}."}) + "\n")
        planned.append(SimpleNamespace(data={"en": language_digest(path)}, spec={}))
        (told,) = corpora.of(planned[-1])("en")
        assert told.real == (f"Tiko likes {colour}.",)
    (before,) = corpora.of(planned[0])("en")
    assert before.real == ("Tiko likes gold.",)  # read before the change: what that stage's key names
    with pytest.raises(UserError, match="en differs from the file that the stage was planned with"):
        corpora.of(SimpleNamespace(data={"en": "0" * 64}, spec={}))("en")


def test_what_is_scored_is_what_is_said_without_its_end() -> None:
    rows = replace(
        ROWS, tokenizer=Letters(eos=0), prompt=Prompt(question="{question}:", answer=" {answer}\n"), ended=False
    )
    assert bytes(rows.pair("q", "yes", language="en").ids).decode() == "q: yes"
    assert bytes(rows.articles(["told"], language="en")[0].ids).decode() == "told"
    trained = replace(rows, ended=True)
    assert trained.pair("q", "yes", language="en").ids == (*b"q: yes\n", 0)
    assert trained.articles(["told"], language="en")[0].ids == (*b"told", 0)
