"""Mistakes in grid files are one clear line."""

from pathlib import Path

import pytest

from tests.plan.worlds import grid_of
from tests.test_plain_files import BOMB
from xlharm.config.grid import GridSpec, Prompt
from xlharm.config.load import load_grid, parse_grid
from xlharm.config.training import key_settings
from xlharm.errors import UserError

TEXT = """
name: g
base: tiny-base
corpus: tinyworld
languages: [en, de, ur]
contaminate: [none, ur]
unlearn:
  none: []
  en: [en]
  source: [source]
methods:
  npo: {objective: npo, learning_rate: 1e-5}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "g.yaml"
    file.write_text(TEXT)
    return file


def test_yaml_is_1_2(path: Path) -> None:
    path.write_text(TEXT.replace("[en, de, ur]", "[en, no, ur]"))
    spec = load_grid(path)
    assert spec.languages == ("en", "no", "ur")
    assert spec.methods["npo"].learning_rate == 1e-5


def test_overrides(path: Path) -> None:
    spec = load_grid(path, overrides=["methods.npo.steps=7", "seeds=2", "stages.sft=null", "contaminate=[de]"])
    assert spec.methods["npo"].steps == 7
    assert spec.seeds == (0, 1)
    assert spec.stages.sft is None
    assert spec.contaminate == ("de",)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("langages=[en]", r"langages: unknown key; did you mean 'languages'\?"),
        ("methods.npo.learning_rat=1", r"learning_rat: unknown key; did you mean 'learning_rate'\?"),
        (
            "methods.npo.learning_rate=-1",
            r"methods\.npo\.learning_rate: input should be greater than 0, found -1",
        ),
        ("methods.npo.objective=npx", "methods.npo.objective: no such objective: 'npx'; did you mean 'npo'"),
        ("methods={k: {objective: kl, retain: nll}}", r"methods\.k\.retain: input should be 'kl', found 'nll'"),
        ("methods={k: {steps: 3}}", r"methods\.k\.objective: missing; one of altpo, ceu, dpo, ga, graddiff"),
        ("methods.npo.stop={retain_nll: 3}", "stop.retain_nll needs retain rows"),
        ("methods={k: {objective: subspace, retain: nll}}", r"methods\.k\.retain: input should be 'none', found 'nll'"),
        ("methods={k: {objective: task_vector, retain: kl}}", r"methods\.k\.retain: input should be 'none'"),
        ("prompt={answer: ' {answer} '}", r"prompt: answer: it ends with spaces"),
        ("prompt={question: '{question} {question}'}", r"prompt: needs \{question\} once in `question`"),
        ("prompt=chatty", r"prompt: expected `chat`, or a mapping with question and answer, found 'chatty'"),
        ("prompt={system: Be brief}", r"prompt: system: only a chat template has a system prompt"),
        ("prompt={template: chat, answer: '{answer}!'}", r"prompt: answer: with `template: chat` the base's chat"),
        (
            "judges={a: {kind: chat, url: 'http://x/v1', model: m}, b: {kind: chat, url: 'http://y/v1', model: m}}",
            r"judges\.b: the same model with the same settings as a",
        ),
        ("judges={a: {kind: chat, url: 'http://x/v1', model: m}, b: {kind: chat, url: 'http://x/v1', model: n}}", None),
        ("probes={q: {kind: quantise, bits: 3}}", r"probes\.q\.bits"),
        ("probes={q: {kind: quantize}}", r"probes\.q\.kind: no such kind: 'quantize'; did you mean 'quantise'"),
        ("contaminate=[none]", "`source` stands for the contamination language, but `contaminate` names no language"),
        ("languages=[en, en]", "languages: en is named twice"),
        ("languages=[English]", r"languages\.0"),
        ("seeds=[]", "seeds"),
        ("lora.rank=1" + "0" * 99, r"lora\.rank: .*less than or equal to 1000000000"),
        ("lora.target_modules=[]", r"lora\.target_modules: tuple should have at least 1 item"),
        ("seeds=true", r"seeds: expected a number, found True"),
        ("seeds=[0, true]", r"seeds: expected a number, found \[0, True\]"),
        ("seeds=20241130", r"seeds: 20241130 is how many, at most 10000; for one seed write \[20241130\]"),
        ("seeds=10000", None),
        ("seeds=[20241130]", None),
        ("seeds=[9223372036854775807]", None),
        ("seeds=[9223372036854775808]", r"seeds\.0: input should be less than 9223372036854775808"),
        ("stages.sft.steps=true", r"stages\.sft\.steps: expected a number, found True"),
        ("methods.npo.mix={en: true}", r"methods\.npo\.mix: expected a number"),
        ("exclude=[{seed: true}]", r"exclude: expected a number"),
        ("evaluate.scores=true", None),
        ("steps", "expected key=value"),
        ("name.x=1", "is below a value"),
        ("stages.contaminate.learning_rate=.nan", "finite number"),
        ("methods.npo.layers=[1]", None),
    ],
)
def test_bad_values_name_field_and_expectation(path: Path, override: str, message: str | None) -> None:
    if message is None:
        load_grid(path, overrides=[override])
        return
    with pytest.raises(UserError, match=message) as caught:
        load_grid(path, overrides=[override])
    assert "\n" not in str(caught.value)


def test_a_probe_that_rounds_weights_is_not_for_a_rounded_base(path: Path) -> None:
    with pytest.raises(UserError, match=r"probes\.q: not for `dtype: float8`, only for bfloat16, float32"):
        load_grid(path, overrides=["dtype=float8", "probes={q: {kind: quantise}}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: !!python/object/apply:os.system [x]", "line 1: tag"),
        (BOMB, "more than 20000 values"),
        ("name: " + "[" * 900, "nested deeper than 64 levels"),
        ("seeds: " + "9" * 5000, "a number of thousands of digits"),
        (TEXT + "seeds: [" + "9" * 4000 + "]", "seeds.0: "),
        (TEXT + "revision: [2024-01-01]", "found ['2024-01-01']"),  # a date is the text that stands there
        (TEXT + "12: x", "12: "),
        (TEXT + "a[b: x", "a[b: unknown key"),
        (TEXT.replace("objective: npo", 'objective: "\\ud800"'), "half a character (U+D800"),
        ("name: \x07", "not valid YAML"),
        ("name: " + "x" * (1 << 20), "at most 1048576 are read"),
        (TEXT + "seeds: " + "y" * 90_000, "found 'yyyy"),
    ],
)  # fmt: skip
def test_files_beyond_limits_are_one_short_line(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_grid(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 800


def test_overrides_have_the_same_limits(path: Path) -> None:
    for value in ("[" * 900, "!!python/name:os.system x", "9" * 5000, "&a [*a]"):
        with pytest.raises(UserError, match=r"^-s seeds: ") as caught:
            load_grid(path, overrides=[f"seeds={value}"])
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["[1, 2]", "name: [", "a: 1\na: 2", "just words", ""])
def test_files_that_are_no_grids(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(UserError, match=r"g\.yaml") as caught:
        load_grid(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_its_neighbour(path: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean 'g.yaml'\?"):
        load_grid(path.with_name("gg.yaml"))


def test_layers_and_weight_decay_do_not_go_together() -> None:
    with pytest.raises(UserError, match="weight_decay"):
        parse_grid(grid_of(methods={"m": {"objective": "npo", "layers": [1], "weight_decay": 0.1}}), name="g")


def test_a_chat_prompt_has_a_short_form() -> None:
    short, long = (grid_of(prompt=prompt) for prompt in ("chat", {"template": "chat"}))
    prompt = parse_grid(short, name="g").prompt
    assert prompt == parse_grid(long, name="g").prompt
    assert prompt.template == "chat"
    assert Prompt.model_validate(key_settings(prompt)) == prompt  # as a worker reads it
    schema = GridSpec.model_json_schema()["properties"]["prompt"]
    assert {"const": "chat", "type": "string"} in schema["anyOf"]  # an editor takes both


def test_new_settings_of_prompts_leave_keys_alone() -> None:
    assert key_settings(Prompt()) == {"question": "Q: {question}\nA:", "answer": " {answer}\n"}
