"""Parts of an adapter: which parameters each holds, and what is left without it."""

import pytest
import torch
from torch import Tensor

from xlharm.model.arithmetic import product
from xlharm.model.layout import Layout, Segment
from xlharm.model.parts import Part, parts_of, stacks, without


def layout_with(*names: str) -> Layout:
    segments, offset = [], 0
    for name in names:
        layer = next((int(word) for word in name.split(".") if word.isdigit()), -1)
        segments.append(Segment(name, layer, 3, 4, offset))
        offset += 2 * (3 + 4)
    return Layout(rank=2, alpha=4, targets=("q_proj", "up_proj"), segments=tuple(segments))


LAYOUT = layout_with(
    "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj",
    "model.layers.1.mlp.up_proj",
)  # fmt: skip


def adapter() -> Tensor:
    return torch.randn(LAYOUT.size, generator=torch.Generator().manual_seed(0))


def changed(part: Part) -> list[bool]:
    """Say of each linear layer whether its product is another without a part."""
    (rest,) = without(adapter(), [part], layout=LAYOUT)
    pairs = [[product(vector, segment, LAYOUT) for vector in (rest, adapter())] for segment in LAYOUT.segments]
    return [not torch.allclose(a, b, atol=1e-5) for a, b in pairs]


def test_the_parts_of_each_division() -> None:
    found = {by: [p.name for p in parts_of(LAYOUT, by, components=8)] for by in ("layer", "module", "target")}
    assert found == {"layer": ["0", "1"], "module": ["self_attn", "mlp"], "target": ["q_proj", "up_proj"]}
    assert [p.name for p in parts_of(LAYOUT, "component", components=8)] == ["0", "1"]  # no more than the rank
    assert [p.name for p in parts_of(LAYOUT, "component", components=1)] == ["0"]


def test_a_linear_layer_beside_the_modules_of_its_layer_is_a_module_itself() -> None:
    layout = layout_with("decoder.layers.0.self_attn.q_proj", "decoder.layers.0.fc1", "decoder.project_in")
    assert [p.name for p in parts_of(layout, "module", components=1)] == ["self_attn", "fc1", "decoder"]
    assert [p.name for p in parts_of(layout, "layer", components=1)] == ["0", "-1"]


@pytest.mark.parametrize(
    ("part", "those"),
    [
        (Part("layer", "1"), [False, False, True, True]),
        (Part("module", "mlp"), [False, True, False, True]),
        (Part("target", "q_proj"), [True, False, True, False]),
        (Part("component", "0"), [True, True, True, True]),
    ],
)
def test_a_part_is_left_out_and_nothing_else(part: Part, those: list[bool]) -> None:
    assert changed(part) == those


def test_a_component_is_the_singular_value_of_its_place() -> None:
    for place in (0, 1):
        (rest,) = without(adapter(), [Part("component", str(place))], layout=LAYOUT)
        for segment in LAYOUT.segments:
            left, whole = (product(vector, segment, LAYOUT) for vector in (rest, adapter()))
            u, s, v = torch.linalg.svd(whole)
            torch.testing.assert_close(left, whole - s[place] * u[:, [place]] @ v[[place]], rtol=0, atol=1e-5)


def test_stacks_begin_with_the_whole_adapter_and_with_none_and_cut_nothing() -> None:
    parts = [part for by in ("layer", "component") for part in parts_of(LAYOUT, by, components=2)]
    alone = [adapter(), torch.zeros(LAYOUT.size), *without(adapter(), parts, layout=LAYOUT)]
    for size in (1, 2, 3, 6, 8):
        found = list(stacks(adapter(), parts, layout=LAYOUT, size=size))
        assert all(len(stack) == size for stack in found[:-1])
        assert torch.equal(torch.cat(found), torch.stack(alone))


@pytest.mark.parametrize("part", [Part("layer", "0"), Part("target", "experts.down_proj"), Part("component", "1")])
def test_a_part_of_stacked_experts_is_of_all_experts(part: Part) -> None:
    experts = Segment("model.layers.0.mlp.experts.down_proj", 0, 3, 4, 0, experts=5)
    layout = Layout(rank=2, alpha=4, targets=("experts.down_proj",), segments=(experts,))
    assert part in parts_of(layout, part.by, components=2)
    vector = torch.randn(layout.size, generator=torch.Generator().manual_seed(0))
    (rest,) = without(vector, [part], layout=layout)
    ranks = torch.linalg.matrix_rank(product(rest, experts, layout), tol=1e-5)
    assert ranks.tolist() == [1 if part.by == "component" else 0] * 5
