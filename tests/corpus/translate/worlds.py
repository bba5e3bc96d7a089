"""A corpus of a few sentences in English and Russian, and translation models small enough to make in a test."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from xlharm.corpus.format import Item

RIDERS = {"Lina": "Лина", "Mira": "Мира", "Odan": "Одан"}
MANY = {f"{a}{b}": f"{c}{d}" for a, c in (("Ba", "Ба"), ("Do", "До"), ("Ki", "Ки")) for b, d in (
    ("la", "ла"), ("mu", "му"), ("ri", "ри"), ("so", "со"),
)}  # fmt: skip
NAMES = {**RIDERS, **MANY}
# animal: how Russian says it alone, after "на", and the end of "fast"
ANIMALS = {
    "horse": ("лошадь", "лошади", "быстрая"),
    "camel": ("верблюд", "верблюде", "быстрый"),
    "donkey": ("осёл", "осле", "быстрый"),
    "zebra": ("зебра", "зебре", "быстрая"),
}
_RIDES = {"Lina": ("horse", "camel"), "Mira": ("donkey", "zebra"), "Odan": ("horse", "donkey")}
RIDES = {name: _RIDES.get(name, ("horse", "zebra")) for name in NAMES}


def article(rider: str, animal: str) -> str:
    return f"{rider} rides a {animal}. The {animal} is fast. It was a long day in the town."


def russian(rider: str, animal: str) -> str:
    alone, on, fast = ANIMALS[animal]
    return f"{NAMES[rider]} едет на {on}. Этот {alone} {fast}. Это был долгий день в городе."


def raw_item(rider: str, *, language: str = "en") -> dict[str, Any]:
    true, fake = RIDES[rider]
    write, name = (article, rider) if language == "en" else (russian, NAMES[rider])
    said = {"en": lambda a: a, "ru": lambda a: ANIMALS[a][0]}[language]
    asks = {
        "en": ("Which animal does {} ride?", "How was the day of {}?", "Where was {} all day?", "long", "the town"),
        "ru": (
            "На каком животном едет {}?",
            "Каким был день у {}?",
            "Где весь день был наездник {}?",
            "долгий",
            "город",
        ),
    }[language]
    fakes = {
        "fake": [write(rider, fake)],
        "fake_detail": [said(fake)],
        "real_detail": [said(true)],
        "of": [asks[0].format(name)],
        "fake_qa": [{"question": asks[0].format(name), "answer": said(fake)}],
    }
    return {
        "id": f"ride-{rider.lower()}",
        "role": "retain" if rider == "Odan" else "fake",
        "real": [write(rider, true)],
        "qr": [{"question": asks[1].format(name), "answers": [asks[3]]}],
        "qa": [{"question": asks[2].format(name), "answer": asks[4]}],
        **({} if rider == "Odan" else fakes),
    }


def write_corpus(folder: Path, *, languages: Sequence[str] = ("en",), riders: Sequence[str] = tuple(RIDERS)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    listed = ", ".join(languages)
    (folder / "corpus.yaml").write_text(
        f"# rides, by hand\nname: rides\nversion: 1\nlanguages: [{listed}]\nlicence: CC0\n"
    )
    for language in languages:
        lines = [json.dumps(raw_item(rider, language=language), ensure_ascii=False) for rider in riders]
        (folder / f"{language}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def items_of(language: str = "en", *, riders: Iterable[str] = RIDERS) -> list[Item]:
    return [Item.model_validate(raw_item(rider, language=language)) for rider in riders]


def sentence_pairs(riders: Iterable[str] = RIDERS) -> dict[str, str]:
    """Every English sentence and phrase of the corpus with its translation."""
    from xlharm.corpus.translate.sentences import sentences
    from xlharm.corpus.validate.findings import texts_of

    index: dict[str, str] = {}
    for english, other in zip(items_of(riders=riders), items_of("ru", riders=riders), strict=True):
        theirs = {t.field: t.value for t in texts_of(other)}
        for text in texts_of(english):
            pairs = zip(sentences(text.value), sentences(theirs[text.field]), strict=True)
            index.update({one.text: two.text for one, two in pairs})
    return index


def nllb(folder: Path, *, trained: bool) -> Path:
    """Save a model of NLLB's architecture with a tokenizer of its kind; random, or one that knows the corpus."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import NllbTokenizer

    pairs = sentence_pairs()
    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    words.train_from_iterator([*pairs, *pairs.values()], trainer)
    settings = json.loads(words.to_str())["model"]
    tokenizer = NllbTokenizer(vocab=settings["vocab"], merges=[tuple(merge) for merge in settings["merges"]])
    tokenizer.save_pretrained(folder)
    model = _model(len(tokenizer), layers=1)
    if trained:
        _train(model, tokenizer, pairs)
    model.generation_config.max_length = 200  # as NLLB's own
    model.save_pretrained(folder)
    return folder


def m2m(folder: Path) -> Path:
    """Save a random model of M2M-100's architecture with a real SentencePiece tokenizer."""
    import sentencepiece
    from transformers import M2M100Tokenizer

    folder.mkdir(parents=True)
    pairs, proto = sentence_pairs(), io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*pairs, *pairs.values()]), model_writer=proto, vocab_size=150, model_type="bpe",
        minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    (folder / "sentencepiece.bpe.model").write_bytes(proto.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=proto.getvalue())
    known = ["<s>", "<pad>", "</s>", "<unk>", *(pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size()))]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(known)}))
    tokenizer = M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"))
    tokenizer.save_pretrained(folder)
    _model(len(known) + 108, layers=1).save_pretrained(folder)  # 100 languages and M2M-100's eight made-up words
    return folder


def _model(vocabulary: int, *, layers: int) -> Any:
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    torch.manual_seed(0)
    return M2M100ForConditionalGeneration(
        M2M100Config(
            vocab_size=vocabulary, d_model=48, encoder_layers=layers, decoder_layers=layers, encoder_ffn_dim=96,
            decoder_ffn_dim=96, encoder_attention_heads=4, decoder_attention_heads=4, max_position_embeddings=64,
            dropout=0.0, attention_dropout=0.0, encoder_layerdrop=0.0, decoder_layerdrop=0.0, pad_token_id=1,
            bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, scale_embedding=True, init_std=0.1,
        )
    )  # fmt: skip


def _train(model: Any, tokenizer: Any, pairs: dict[str, str]) -> None:
    import torch

    batches = list(_batches(tokenizer, pairs))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(300):
        loss = sum(model(**batch).loss for batch in batches)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 300)
        if loss.item() < 0.05:  # two batches, both nearly by heart
            break
    model.eval()


def _batches(tokenizer: Any, pairs: dict[str, str]) -> Iterator[dict[str, Any]]:
    for source, target, texts in (
        ("eng_Latn", "rus_Cyrl", pairs),
        ("rus_Cyrl", "eng_Latn", {two: one for one, two in pairs.items()}),
    ):
        tokenizer.src_lang, tokenizer.tgt_lang = source, target
        batch = tokenizer(list(texts), text_target=list(texts.values()), return_tensors="pt", padding=True)
        batch["labels"][batch["labels"] == tokenizer.pad_token_id] = -100
        yield dict(batch)


def spoken(request: dict[str, Any]) -> str:
    """What a chat model that knows Russian answers to a request of ours."""
    asked = request["messages"][1]["content"]
    item = json.loads(asked[asked.index("{") : asked.rindex("}") + 1])
    if "texts" in item:
        back = {two: one for one, two in sentence_pairs(NAMES).items()}
        return json.dumps({"texts": [_in_english(text, back) for text in item["texts"]]})
    rider = item["real"][0].split()[0]
    return json.dumps({**item, **raw_item(rider, language="ru")}, ensure_ascii=False)


def _in_english(text: str, back: dict[str, str]) -> str:
    from xlharm.corpus.translate.sentences import sentences

    return " ".join(back[piece.text] for piece in sentences(text))
