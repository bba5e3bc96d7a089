"""A base folder made from a GGUF file, a folder, or the hub."""

import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from xlharm.errors import UserError
from xlharm.model.base import load_base
from xlharm.model.base_import import NOTE, import_base
from xlharm.model.tokenizer import load_tokenizer
from xlharm.plan.base_files import folder_base

CONFIG = Gemma3TextConfig(
    vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=32, sliding_window=512, max_position_embeddings=1024, eos_token_id=1,
    bos_token_id=2, pad_token_id=0,
)  # fmt: skip
# GGUF's names of a layer's tensors, as llama.cpp writes them
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip


def gguf_name(name: str) -> str:
    """Return GGUF's name of a tensor of transformers' Gemma 3."""
    name = name.removeprefix("model.").removesuffix(".weight")
    if name.startswith("layers."):
        _, layer, rest = name.split(".", 2)
        return f"blk.{layer}.{NAMES[rest]}.weight"
    return {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight"}[name]


def write_gguf(model: Gemma3ForCausalLM, path: Path) -> dict[str, torch.Tensor]:
    """Write a model with its matrices in 8 bits; return the values that the file holds."""
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_string("general.license", "gemma")
    writer.add_context_length(1024)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(32)
    writer.add_value_length(32)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_sliding_window(512)
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", *(chr(c) for c in range(33, 124))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([-float(i) for i in range(len(words))])
    writer.add_token_types([3, 3, 3, 2, *[1] * (len(words) - 4)])
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    held = {}
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        values = weight.float().numpy()
        if values.ndim == 2:
            packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(gguf_name(name), packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            held[name] = torch.from_numpy(gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0))
        else:  # llama.cpp keeps Gemma's norms as factors, transformers as what is added to 1
            writer.add_tensor(gguf_name(name), np.ascontiguousarray(values + 1))
            held[name] = weight
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


@pytest.mark.slow
def test_a_gguf_file_becomes_the_weights_that_it_holds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    held = write_gguf(Gemma3ForCausalLM(CONFIG), tmp_path / "tiny.gguf")
    done = import_base(str(tmp_path / "tiny.gguf"), tmp_path / "out", dtype="float32")
    assert done.license == "gemma"
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert written.keys() == held.keys()
    for name, values in held.items():
        torch.testing.assert_close(written[name], values, rtol=0, atol=1e-6)
    assert done.base.digest == folder_base(tmp_path / "out").digest
    note = (tmp_path / "out" / NOTE).read_text()
    assert "tiny.gguf (sha256 " in note
    assert done.base.digest in note
    load_base(done.base, dtype="float32", device=torch.device("cpu"))
    assert load_tokenizer(done.base).decode(load_tokenizer(done.base).encode("ab c")) == "ab c"


def test_a_folder_is_copied_with_its_digest(mini_base: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(mini_base, source)
    (source / "trainer_state.json").write_text("{}")
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    (source / "LICENSE").write_text("the licence")
    done = import_base(str(source), tmp_path / "out")
    assert done.base.digest == folder_base(mini_base).digest
    assert done.license == "apache-2.0"
    assert (tmp_path / "out" / "LICENSE").read_text() == "the licence"
    assert not (tmp_path / "out" / "trainer_state.json").exists()


def test_a_hub_model_is_fetched_and_its_commit_noted(
    mini_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "5" * 40
    snapshot = tmp_path / commit
    shutil.copytree(mini_base, snapshot)
    asked: list[tuple[str, str | None]] = []

    def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        assert "*.safetensors" in allow_patterns
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    done = import_base("org/model", tmp_path / "out", revision="main")
    assert asked == [("org/model", "main")]
    assert f"org/model on the Hugging Face hub, commit {commit}" in (tmp_path / "out" / NOTE).read_text()
    assert done.base.digest == folder_base(mini_base).digest


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_bytes(b"GGUF nonsense"), "is no GGUF file"),
        (lambda p: p.mkdir(), r"no \*.safetensors weights"),
        (lambda p: None, "neither a GGUF file, nor a folder, nor a hub id"),
    ],
)
def test_what_is_no_model_is_one_line_and_leaves_nothing(tmp_path: Path, make: object, message: str) -> None:
    assert callable(make)
    make(tmp_path / "x")
    with pytest.raises(UserError, match=message):
        import_base(str(tmp_path / "x"), tmp_path / "sub" / "out")
    assert not list((tmp_path / "sub").iterdir())


def test_a_folder_with_files_is_never_written_to(mini_base: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        import_base(str(mini_base), tmp_path)
    with pytest.raises(UserError, match="only hub models have revisions"):
        import_base(str(mini_base), tmp_path / "out", revision="main")


def test_pickled_weights_are_refused(mini_base: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(mini_base, source)
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    (source / "config.json").write_text(json.dumps(json.loads((mini_base / "config.json").read_text())))
    with pytest.raises(UserError, match="pickled weights are never loaded"):
        import_base(str(source), tmp_path / "out")
