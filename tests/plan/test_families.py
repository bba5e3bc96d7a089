"""Which path a family takes, and how long a row may be."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.plan.worlds import grid_of, sources
from xlharm.config.load import parse_grid
from xlharm.plan.build import Plan, build
from xlharm.plan.families import GENERIC, MASKED, family_of, kind_of, kind_on, path_of, row_limit
from xlharm.plan.sources import Sources


def test_the_path_goes_by_the_family_unless_the_grid_names_it() -> None:
    assert path_of("auto", family="llama") == "fast"
    assert path_of("auto", family="") == "fast"
    assert {path_of("auto", family=family) for family in GENERIC} == {"generic"}
    assert path_of("generic", family="llama") == "generic"
    assert path_of("fast", family="bloom") == "fast"


def test_of_a_whole_the_part_that_reads_text_counts() -> None:
    whole = {"model_type": "lfm2_vl", "text_config": {"model_type": "lfm2", "max_position_embeddings": 128}}
    assert family_of(whole) == "lfm2"
    assert row_limit(whole) == 128
    assert family_of({"model_type": "odd", "text_config": {}}) == "odd"
    assert family_of({}) == ""


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"model_type": "llama"}, "causal"),
        ({"model_type": "bert"}, "masked"),
        ({"model_type": "bert", "is_decoder": True}, "causal"),
        ({"model_type": "xlm", "causal": True}, "causal"),
        ({"model_type": "mt5"}, "encoder-decoder"),
        ({"model_type": "bart", "is_encoder_decoder": True}, "encoder-decoder"),
        ({"model_type": "bart", "is_encoder_decoder": False}, "causal"),  # its decoder alone
        ({"model_type": "of-its-own-code", "is_encoder_decoder": True}, "encoder-decoder"),
        ({}, "causal"),
        ({"model_type": ["bert"]}, "causal"),  # of a file, it may be anything
    ],
)
def test_a_configuration_says_the_kind_and_the_kind_its_path(config: dict[str, Any], kind: Any) -> None:
    assert kind_of(config) == kind_of(SimpleNamespace(**config)) == kind
    path = path_of("auto", family=str(config.get("model_type", "")), kind=kind)
    assert kind_on(path) == kind
    assert (path == kind) == (kind != "causal")


def test_masked_families_are_of_transformers_and_encoder_decoders_say_so() -> None:
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto as known

    assert set(known.MODEL_FOR_MASKED_LM_MAPPING_NAMES) >= MASKED
    for family in ("t5", "mt5", "umt5", "bart", "mbart", "m2m_100", "marian", "pegasus"):
        assert kind_of(CONFIG_MAPPING[family]()) == kind_of({"model_type": family}) == "encoder-decoder"
    assert {kind_of(CONFIG_MAPPING[family]()) for family in ("bert", "xlm-roberta", "roberta", "electra")} == {"masked"}


def test_a_row_ends_before_positions_that_are_counted_from_the_padding() -> None:
    """XLM-R has 514 positions, of which the first two are for no token of a row."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    config = XLMRobertaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=12, pad_token_id=1,
    )  # fmt: skip
    limit = row_limit(config)
    assert limit == row_limit(config.to_dict()) == 10
    model = XLMRobertaForMaskedLM(config).eval()
    with torch.no_grad():
        model(torch.full((1, limit), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, limit + 1), 5))


@pytest.mark.parametrize("padding", [{}, {"pad_token_id": None}, {"pad_token_id": "1"}, {"pad_token_id": [1]}])
def test_a_padding_token_that_is_no_number_counts_as_that_of_the_families(padding: dict[str, Any]) -> None:
    assert row_limit({"model_type": "xlm-roberta", "max_position_embeddings": 12, **padding}) == 10


def plan(family: str, **fields: Any) -> Plan:
    from dataclasses import replace

    known = sources()
    of = Sources(base=replace(known.base, family=family), corpus=known.corpus)
    return build(parse_grid(grid_of(**fields), name="grid.yaml"), sources=of, dtype="float32")


def test_the_path_is_part_of_every_key_and_the_fast_one_changes_none() -> None:
    fast, generic = plan("llama"), plan("bloom")
    assert fast.stages.keys() == plan("").stages.keys() == plan("bloom", path="fast").stages.keys()
    assert generic.stages.keys() == plan("llama", path="generic").stages.keys()
    assert not fast.stages.keys() & generic.stages.keys()
    assert {stage.spec["path"] for stage in generic.stages.values()} == {"generic"}


LONGROPE = {"rope_type": "longrope", "original_max_position_embeddings": 4096}


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({}, None),
        ({"max_position_embeddings": 2048}, 2048),
        ({"max_position_embeddings": 131072, "rope_parameters": LONGROPE}, 4096),
        ({"max_position_embeddings": 131072, "rope_parameters": {"full_attention": LONGROPE}}, 4096),
        (  # as the files of Phi-3 have it
            {"max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
             "rope_scaling": {"type": "longrope", "long_factor": [1.0]}}, 4096,
        ),
        (
            {"max_position_embeddings": 131072,
             "rope_parameters": {"rope_type": "yarn", "original_max_position_embeddings": 4096}}, 131072,
        ),
    ],
)  # fmt: skip
def test_rows_end_where_longrope_would_change_their_neighbours(config: dict[str, Any], limit: int | None) -> None:
    assert row_limit(config) == limit
    assert row_limit(SimpleNamespace(**config)) == limit


def test_a_row_beyond_the_original_length_changes_its_neighbours() -> None:
    """That is why: the limit is no caution."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(0)
    factors = {"short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
    config = Phi3Config(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4, pad_token_id=0,
        max_position_embeddings=64, original_max_position_embeddings=16,
        rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, **factors},
    )  # fmt: skip
    assert row_limit(config) == row_limit(config.to_dict()) == 16
    model = Phi3ForCausalLM(config).eval()
    row, positions = torch.arange(3, 13)[None], torch.arange(10)[None]
    with torch.no_grad():
        short = model(row, position_ids=positions).logits
        beside = model(row.repeat(2, 1), position_ids=torch.cat([positions, positions + 10])).logits[:1]
    assert not torch.allclose(short, beside, atol=1e-4)
