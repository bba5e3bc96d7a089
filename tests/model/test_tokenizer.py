"""Counting tokens before a run: as the workers will, without torch, and with a clear word where it cannot be done."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.chats import FAMILIES, hf_tokenizer, text_tokenizer
from xlharm.config.grid import Prompt
from xlharm.corpus.finding import assets
from xlharm.corpus.rows import Frame, article_row, prompt_ids
from xlharm.errors import UserError
from xlharm.model.tokenizer import TextTokenizer, check_vocabulary, light_tokenizer, load_tokenizer, positions
from xlharm.plan.base_files import folder_base
from xlharm.plan.sources import BaseSource


def test_the_light_tokenizer_is_the_workers() -> None:
    base = folder_base(assets() / "tiny-base")
    light, full = light_tokenizer(base), load_tokenizer(base)
    assert (light.eos, light.ends, light.controls) == (full.eos, full.ends, full.controls)
    assert light.template(Prompt()) == full.template(Prompt())
    for language in ("en", "zh", "ur", "hy"):
        text = (assets() / "tinyworld" / f"{language}.jsonl").read_text(encoding="utf-8")[:2000]
        assert light.encode("", text) == full.encode("", text)
    assert positions(base) == 512


@pytest.mark.slow
def test_it_imports_no_torch() -> None:
    code = (
        "import sys; from xlharm.model.tokenizer import light_tokenizer, positions;"
        "from xlharm.corpus.finding import assets; from xlharm.plan.base_files import folder_base;"
        "base = folder_base(assets() / 'tiny-base');"
        "positions(base), light_tokenizer(base).encode('', 'a'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_token_without_an_embedding_is_named() -> None:
    base = folder_base(assets() / "tiny-base")
    tokenizer = light_tokenizer(base)
    size = len(tokenizer.hf)
    check_vocabulary(tokenizer, size=None, source=base)  # as its configuration has it
    check_vocabulary(tokenizer, size=size, source=base)
    tokenizer.hf.add_tokens(["<extra>"])
    message = rf"tokenizer: '<extra>' has the id {size}, but the model has {size} embeddings"
    with pytest.raises(UserError, match=message):
        check_vocabulary(tokenizer, size=size, source=base)


def test_a_base_that_is_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="base org/none: configuration: "):
        positions(BaseSource(location="org/none", revision="0" * 40, digest="", size=0))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_sequence_begins_as_the_tokenizer_begins_it(name: str) -> None:
    tokenizer, hf = text_tokenizer(name), hf_tokenizer(name)
    first = [hf.convert_tokens_to_ids(FAMILIES[name].special[0])]
    head = tokenizer.template(Prompt()).head
    assert [*head, *tokenizer.encode("", "a b")] == hf("a b")["input_ids"]
    assert list(head) == (first if FAMILIES[name].begins else [])
    assert tokenizer.template(Prompt(bos=False)).head == ()
    if FAMILIES[name].begins:
        assert list(tokenizer.template(Prompt(bos=True)).question_head) == first
    else:
        with pytest.raises(UserError, match=r"^prompt\.bos: the base's tokenizer has no token that begins"):
            tokenizer.template(Prompt(bos=True))


def test_bos_can_be_set_apart_from_what_the_tokenizer_does() -> None:
    hf = hf_tokenizer("qwen3")
    with_bos = type(hf)(tokenizer_object=hf.backend_tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>")
    tokenizer = TextTokenizer(with_bos)
    assert tokenizer.template(Prompt()).head == ()
    assert tokenizer.template(Prompt(bos=True)).head == (with_bos.bos_token_id,)


def test_a_sequence_may_begin_with_two_tokens() -> None:
    """As GLM 4 has it. They are the context of the first token of an article."""
    from tokenizers.processors import TemplateProcessing

    hf = copy.deepcopy(hf_tokenizer("qwen3"))
    names = ("<|im_start|>", "<|im_end|>")
    first, second = hf.convert_tokens_to_ids(list(names))
    hf.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{names[0]} {names[1]} $A", special_tokens=list(zip(names, (first, second), strict=True))
    )
    tokenizer = TextTokenizer(hf)
    row = article_row("a b", prompt=Prompt(), tokenizer=tokenizer, limit=99)
    assert (row.ids[:2], row.start) == ((first, second), 2)
    with pytest.raises(UserError, match=r"^prompt\.question: it begins with the tokenizer's own first token"):
        prompt_ids("a", prompt=Prompt(question=f"{names[0]}{{question}}"), tokenizer=tokenizer)


def test_the_prompt_of_a_chat_begins_as_its_template_does() -> None:
    template = text_tokenizer("llama3").template(Prompt(template="chat"))
    assert (len(template.head), template.question_head) == (1, ())


@pytest.mark.parametrize(
    ("generation", "ends"),
    [({"eos_token_id": [1, 5]}, {1, 5}), ({"eos_token_id": 7}, {1, 7}), ({}, {1}), (None, {1, 9})],
)
def test_ends_are_those_of_the_generation_configuration(
    generation: dict[str, object] | None, ends: set[int], tmp_path: Path
) -> None:
    """Without such a file transformers reads config.json."""
    folder = Path(shutil.copytree(assets() / "tiny-base", tmp_path / "base"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 9}))
    if generation is None:
        (folder / "generation_config.json").unlink()
    else:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    assert load_tokenizer(folder_base(folder)).ends == ends


def test_a_generation_configuration_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(assets() / "tiny-base", tmp_path / "base"))
    (folder / "generation_config.json").write_text("[1]")
    with pytest.raises(UserError, match=r"generation_config\.json: expected a JSON object"):
        load_tokenizer(BaseSource(location=str(folder), revision=None, digest="", size=0))


def test_around_a_text_is_what_the_tokenizer_puts_there_in_each_language() -> None:
    from tests.families.others import tokenizer_of

    hf = tokenizer_of("nllb", ["a b c"])
    tokenizer = TextTokenizer(hf, kind="encoder-decoder", begins=2)
    german, end = hf.convert_tokens_to_ids("deu_Latn"), hf.eos_token_id
    assert tokenizer.frame("de") == Frame(head=(german,), tail=(end,), begun=(2, german))
    assert tokenizer.frame("en").head != tokenizer.frame("de").head
    with pytest.raises(UserError, match="its tokenizer has tokens for languages, and none for 'xx'"):
        tokenizer.frame("xx")


def test_a_masked_row_has_the_tokenizers_own_first_and_last_token() -> None:
    from tests.families.others import tokenizer_of

    hf = tokenizer_of("bert", ["a b c"])
    tokenizer = TextTokenizer(hf, kind="masked")
    assert tokenizer.frame("en") == Frame(head=(hf.cls_token_id,), tail=(hf.sep_token_id,))
    assert tokenizer.mask == hf.mask_token_id


@pytest.mark.parametrize(("plain", "framed"), [([7], [1, 8, 2]), ([], [1, 2])])
def test_what_is_around_a_text_is_not_guessed(plain: list[int], framed: list[int]) -> None:
    class Odd:
        mask_token_id = eos_token_id = None

        def __call__(self, _text: str, *, add_special_tokens: bool = True) -> dict[str, list[int]]:
            return {"input_ids": framed if add_special_tokens else plain}

    with pytest.raises(UserError, match="its tokenizer reads `a` as "):
        TextTokenizer(Odd(), kind="masked").frame("en")
