"""Small tokenizers of the model families: their kind of splitting, their control tokens, their chat template."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from xlharm.model.tokenizer import TextTokenizer

TEMPLATES = Path(__file__).parent / "templates"
TEXT = "Which colour does Kabo like best? Kabo likes the colour blue. سرخ رنگ 12."


@dataclass(frozen=True)
class Family:
    """Of a family's tokenizer: how it splits, its control tokens, and which of them end an answer.

    Attributes:
        pieces: whether it splits like SentencePiece (spaces are letters) or into bytes, as GPT-2's.
        special: control tokens; the first begins a sequence.
        plain: tokens that stand alone but are not called special.
        eos: the tokenizer's own end.
        end: token that ends an answer in the chat template.
        begins: whether the tokenizer begins every sequence with the first token.
    """

    pieces: bool
    special: tuple[str, ...]
    eos: str
    end: str
    plain: tuple[str, ...] = ()
    begins: bool = True


FAMILIES = {
    "llama3": Family(
        pieces=False,
        special=("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        eos="<|end_of_text|>",
        end="<|eot_id|>",
    ),
    "qwen3": Family(
        pieces=False,
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        plain=("<think>", "</think>", "<tool_call>"),
        eos="<|endoftext|>",
        end="<|im_end|>",
        begins=False,
    ),
    "gemma3": Family(
        pieces=True,
        special=("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        plain=("\n\n", "<b>"),
        eos="<eos>",
        end="<end_of_turn>",
    ),
    "aya": Family(
        pieces=False,
        special=(
            "<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>",
            "<|SYSTEM_TOKEN|>",
        ),
        eos="<|END_OF_TURN_TOKEN|>",
        end="<|END_OF_TURN_TOKEN|>",
    ),
    "mistral": Family(
        pieces=True, special=("<s>", "</s>", "[INST]", "[/INST]"), eos="</s>", end="</s>"
    ),
}  # fmt: skip


@cache
def hf_tokenizer(name: str) -> Any:
    """Return a family's small tokenizer, as transformers loads it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    family = FAMILIES[name]
    alphabet = sorted(set(TEXT + "abcdefghijklmnopqrstuvwxyz:<>|/_[]QA\n▁"))
    tokenizer = Tokenizer(models.BPE(byte_fallback=family.pieces, unk_token=None))
    if family.pieces:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        special = [*family.special, *(f"<0x{i:02X}>" for i in range(256))]
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet, special = pre_tokenizers.ByteLevel.alphabet(), list(family.special)
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, min_frequency=1, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    data = tokenizer.to_str()
    tokenizer = Tokenizer.from_str(_only_special(data, family.special))
    tokenizer.add_tokens([AddedToken(content, normalized=False) for content in family.plain])
    if family.begins:
        first = family.special[0]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", special_tokens=[(first, tokenizer.token_to_id(first))]
        )
    hf = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=family.special[0] if family.begins else None, eos_token=family.eos
    )
    hf.chat_template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return hf


def _only_special(data: str, contents: tuple[str, ...]) -> str:
    """Leave bytes out of the added tokens: they are pieces of the vocabulary."""
    import json

    tokenizer = json.loads(data)
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] in contents]
    return json.dumps(tokenizer)


def text_tokenizer(name: str) -> TextTokenizer:
    """Return a family's tokenizer as xlharm uses it, with the end that its generation configuration names."""
    hf = hf_tokenizer(name)
    return TextTokenizer(hf, ends=[hf.convert_tokens_to_ids(FAMILIES[name].end)])
