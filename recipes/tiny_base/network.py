"""The networks: a plain Llama for training speed, saved as ``LlamaForCausalLM``, and other families by transformers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of the model."""

    vocabulary: int = 6000
    width: int = 192
    layers: int = 6
    heads: int = 3
    inner: int = 576


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(shape.width, shape.width, bias=False))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            getattr(self, n)(x).view(batch, length, self.heads, -1).transpose(1, 2)
            for n in ("q_proj", "k_proj", "v_proj")
        )
        out = F.scaled_dot_product_attention(_rotate(q, cos, sin), _rotate(k, cos, sin), v, is_causal=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, width))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return x * cos.to(x.dtype) + torch.cat((-b, a), -1) * sin.to(x.dtype)


class Mlp(nn.Module):
    """Gated feed-forward layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Norm(nn.Module):
    """Root-mean-square norm in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * self.weight.to(x.dtype)


class Block(nn.Module):
    """A decoder layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(shape), Mlp(shape)
        self.input_layernorm, self.post_attention_layernorm = Norm(shape.width), Norm(shape.width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """The model; parameter names are those of ``LlamaForCausalLM``."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.model.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.model.norm = Norm(shape.width)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / (math.sqrt(2 * shape.layers) if deep else 1))

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return logits, or the mean loss when there are targets."""
        half = self.shape.width // self.shape.heads
        rates = 1.0 / (10000 ** (torch.arange(0, half, 2, device=ids.device).float() / half))
        angles = torch.outer(torch.arange(ids.shape[1], device=ids.device).float(), rates)
        cos, sin = torch.cat((angles, angles), -1).cos(), torch.cat((angles, angles), -1).sin()
        x = self.model.embed_tokens(ids)
        for block in self.model.layers:
            x = block(x, cos, sin)
        logits = F.linear(self.model.norm(x), self.model.embed_tokens.weight)
        if targets is None:
            return logits
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


class Transformers(nn.Module):
    """A model of another family by transformers' own code, of about the same size as ``Llama``."""

    def __init__(self, family: str, shape: Shape) -> None:
        from transformers import AutoModelForCausalLM

        super().__init__()
        self.theirs = AutoModelForCausalLM.from_config(config_of(family, shape))

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return logits, or the mean loss when there are targets."""
        logits = self.theirs(input_ids=ids, use_cache=False).logits
        return logits if targets is None else F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def config_of(family: str, shape: Shape) -> Any:
    """Return the configuration of a family with the sizes of a shape.

    Args:
        family: a key of ``FAMILIES``.
        shape: width, depth, heads; families without a gate have 4 / 3 of its inner width, and so as many parameters.
    """
    from transformers import CONFIG_MAPPING

    s, ungated = shape, shape.inner * 4 // 3
    common = {"vocab_size": s.vocabulary, "tie_word_embeddings": True}
    common |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    modern = {
        "hidden_size": s.width, "intermediate_size": s.inner, "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads, "head_dim": s.width // s.heads, "max_position_embeddings": 512,
    }  # fmt: skip
    match family:
        case "llama":
            own = {**modern, "num_key_value_heads": s.heads, "rms_norm_eps": 1e-6}
        case "qwen3":
            own = {**modern, "num_key_value_heads": s.heads}
        case "gemma3":
            kinds = ["sliding_attention"] * (s.layers - 1) + ["full_attention"]
            own = {**modern, "num_key_value_heads": 1, "query_pre_attn_scalar": s.width // s.heads,
                   "sliding_window": 128, "layer_types": kinds}  # fmt: skip
        case "gpt2":
            own = {"n_embd": s.width, "n_layer": s.layers, "n_head": s.heads, "n_inner": ungated, "n_positions": 512,
                   "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}  # fmt: skip
        case "bloom":
            own = {"hidden_size": s.width, "n_layer": s.layers, "n_head": s.heads}
        case _:
            raise ValueError(f"family {family!r}: expected one of {', '.join(FAMILIES)}")
    return CONFIG_MAPPING[FAMILIES[family]](**common, **own)


FAMILIES = {"llama": "llama", "gpt2": "gpt2", "bloom": "bloom", "qwen3": "qwen3", "gemma3": "gemma3_text"}
"""Families and their ``model_type`` in transformers."""


def network(family: str, shape: Shape) -> Llama | Transformers:
    """Return a model with random weights; a Llama by the code above, which trains faster."""
    return Llama(shape) if family == "llama" else Transformers(family, shape)


def save(model: Llama | Transformers, tokenizer_file: str, folder: str) -> None:
    """Write a Hugging Face folder: bfloat16 safetensors in shards of at most 10 MB, and the tokenizer."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    theirs = _as_transformers(model) if isinstance(model, Llama) else model.theirs.cpu()
    theirs.to(torch.bfloat16).save_pretrained(folder, max_shard_size="9MB")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=tokenizer_file,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
    )
    # Every training document began with <s>, so the tokenizer begins texts with it, whoever loads it.
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(folder)


def _as_transformers(model: Llama) -> Any:
    from transformers import LlamaForCausalLM

    theirs = LlamaForCausalLM(config_of("llama", model.shape))
    weights = {k: v.detach().float().cpu() for k, v in model.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}, missing
    theirs.tie_weights()
    return theirs
