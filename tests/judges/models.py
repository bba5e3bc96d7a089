"""Models that judge, whose answers are known by how they were made."""

import shutil
from pathlib import Path

import torch


def nli_model(mini_base: Path, folder: Path) -> Path:
    """Make a classifier with no attention to speak of: every pair gets the logits of its bias, entailment 0.5."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(mini_base)
    tokenizer.save_pretrained(folder)
    labels = {0: "contradiction", 1: "neutral", 2: "ENTAILMENT"}
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        num_labels=3, id2label=labels, label2id={v: k for k, v in labels.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    model = BertForSequenceClassification(config)
    model.classifier.weight.data.zero_()
    model.classifier.bias.data = torch.tensor([0.25, 0.25, 0.5]).log()
    model.save_pretrained(folder)
    return folder


def yes_model(mini_base: Path, folder: Path) -> Path:
    """Copy the mini base with a tokenizer that has the words `yes` and `no` and nothing else."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    shutil.copytree(mini_base, folder)
    words = Tokenizer(models.WordLevel({"<unk>": 0, "yes": 1, "no": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(folder)
    return folder
