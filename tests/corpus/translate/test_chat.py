"""A chat model that knows Russian, behind a real server that is sometimes busy, broken or unwilling."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.corpus.translate.worlds import items_of, spoken
from tests.remote.server import Answer, ChatServer, completion, serving
from xlharm.corpus.format import Item
from xlharm.corpus.translate.backend import TranslationOutcome, TranslationTask, scored_texts
from xlharm.corpus.translate.chat import ChatTranslator
from xlharm.corpus.translate.translation import score_of
from xlharm.remote.chat import ChatClient
from xlharm.remote.endpoint import Endpoint

pytestmark = pytest.mark.slow

Change = Callable[[dict[str, Any]], None]


def translator(server: ChatServer, cache: Path | None = None, **fields: Any) -> ChatTranslator:
    endpoint = Endpoint(url=server.url, model="m", **{"max_in_flight": 1, "timeout": 5.0, "attempts": 3, **fields})
    return ChatTranslator(ChatClient(endpoint, cache=cache, sleep=lambda _: None))


def made(backend: ChatTranslator, items: list[Item], *, variant: int = 0) -> dict[str, TranslationOutcome]:
    tasks = [TranslationTask(item=item, variant=variant) for item in items]
    return {outcome.id: outcome for outcome in backend.make(tasks, language="ru")}


def changed(change: Change, *, once: bool = True) -> tuple[list[str], Callable[..., Answer]]:
    """Answer with something wrong in Lina's item: the first time, or always."""
    repairs: list[str] = []

    def behave(request: dict[str, Any], _headers: dict[str, str]) -> Answer:
        item = json.loads(spoken(request))
        mending = len(request["messages"]) > 2
        if mending:
            repairs.append(request["messages"][3]["content"])
        if "Лина" in item["real"][0] and not (once and mending):
            change(item)
        return completion(json.dumps(item, ensure_ascii=False))

    return repairs, behave


def test_items_come_out_whole_and_back_into_english() -> None:
    with serving(lambda request, _: completion(f"<think>{{hm}}</think>```json\n{spoken(request)}\n```")) as server:
        backend = translator(server)
        results = made(backend, items_of())
        assert [results[item.id].item for item in items_of("ru")] == items_of("ru")
        backs = {back.id: back for back in backend.back(items_of("ru"), language="ru")}
        assert len(server.requests) == 6
    for item in items_of():
        assert backs[item.id].texts == scored_texts(item)
        assert score_of(backs[item.id], scored_texts(item)) == 100
    schema = server.requests[0]["response_format"]["json_schema"]["schema"]
    assert set(schema["required"]) == set(Item.model_fields) - {"id", "role", "of_switched"}
    assert "Russian (ru)" in server.requests[0]["messages"][1]["content"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda t: t.update(fake_detail=["верблюдица"]), "fake.0: does not say the fake detail"),
        (lambda t: t["real"].__setitem__(0, t["real"][0] + " Не верблюд."), "real.0: says the fake detail 'верблюд'"),
        (lambda t: t["of"].__setitem__(0, "Едет ли Лина на верблюде?"), "of.0: the question gives its answer away"),
        (lambda t: t["fake"].append(t["fake"][0]), "fake: 2 entries, 1 in English"),
        (lambda t: t.update(choices=["мул"]), "choices: 1 entries, 0 in English"),
        (lambda t: t.update(real=["Lina rides a horse, and it was a long day for her."]), "real.0: is not in Cyrillic"),
        (lambda t: t.pop("real"), "real: Field required"),
    ],
)
def test_a_fault_is_sent_back_once_and_mended(change: Change, fault: str) -> None:
    def with_forms(results: dict[str, Any]) -> None:
        results["fake_detail"] = ["верблюд", "верблюде"]
        change(results)

    repairs, behave = changed(with_forms)
    with serving(behave) as server:
        results = made(translator(server), items_of())
        assert results["ride-lina"].item == items_of("ru")[0]
        assert len(server.requests) == 4
        assert server.requests[3]["messages"][2]["role"] == "assistant"
    assert f"- {fault}" in repairs[0]


def test_a_fault_that_stays_is_listed_and_costs_no_other_item() -> None:
    repairs, behave = changed(lambda t: t.update(fake_detail=["слон"]), once=False)
    with serving(behave) as server:
        results = made(translator(server), items_of())
    assert len(repairs) == 1
    assert results["ride-lina"].problem == "check"
    assert results["ride-lina"].reason.startswith("fake.0: does not say the fake detail ('слон')")
    assert results["ride-mira"].item is not None


def test_busy_broken_and_unwilling(tmp_path: Path) -> None:
    """429 and 500 are waited for, a cut-off body asked for again; a refusal and junk are told by name."""
    bad = [Answer(429, headers={"Retry-After": "1"}), Answer(500), Answer(200, b'{"choices": [{"message": {"cont')]

    def behave(request: dict[str, Any], _headers: dict[str, str]) -> Answer:
        if bad:
            return bad.pop(0)
        text = spoken(request)
        if "Мира" in text:
            return completion(None, refusal="I cannot write false news.")
        return completion(text[:80] if "Одан" in text else text)  # truncated JSON in a whole answer

    with serving(behave) as server:
        results = made(translator(server, tmp_path, attempts=4), items_of())
        assert len(server.requests) == 7  # three in vain, three items, one repair
        assert results["ride-lina"].item is not None
        assert (results["ride-mira"].problem, results["ride-mira"].reason) == ("refusal", "I cannot write false news.")
        assert results["ride-odan"].problem == "junk"
        assert results["ride-odan"].reason.startswith("not valid JSON")
        made(translator(server, tmp_path), [items_of()[0], items_of()[2]])
        assert len(server.requests) == 7  # kept, the junk and its repair, too
        made(translator(server, tmp_path), [items_of()[2]], variant=1)
        assert len(server.requests) == 9


def test_a_back_translation_of_another_number_of_texts_scores_nothing() -> None:
    with serving(lambda _request, _: completion('{"texts": ["only one"]}')) as server:
        backs = list(translator(server).back(items_of("ru"), language="ru"))
    assert [(back.texts, back.problem) for back in backs] == [({}, "junk")] * 3


def test_the_estimate_counts_what_is_not_kept(tmp_path: Path) -> None:
    with serving(lambda request, _: completion(spoken(request))) as server:
        backend = translator(server, tmp_path, price_in=1.0, price_out=2.0)
        made(backend, items_of()[:1])
        tasks = {"ru": [TranslationTask(item=item) for item in items_of()]}
        estimate = backend.estimate(tasks, scored=0)
        assert (estimate.requests, estimate.cached) == (3, 1)
        assert estimate.cost == pytest.approx((estimate.tokens_in + 2 * estimate.tokens_out) / 1e6)
        with_back = backend.estimate(tasks, scored=3)
        assert with_back.requests == 6
        assert with_back.tokens_in > estimate.tokens_in
        again = {"ru": [TranslationTask(item=item, variant=1) for item in items_of()]}
        assert backend.estimate(again, scored=0).cached == 0
