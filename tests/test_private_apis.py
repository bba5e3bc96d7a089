"""Private APIs of other packages: each is listed, its package has an upper bound, and it is there as we use it."""

import ast
import inspect
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from xlharm.engine.ray.cluster import _check_reachable

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "transformers", "deepspeed", "ray")
OPTIONAL = {"wandb-workspaces": "dashboards"}  # extras
USED = {
    "torch._dynamo.config": "model/lora.py: code for all sizes at once",
    "torch.fx.experimental._config": "model/lora.py: likewise",
    "torch._scaled_mm": "model/float8.py: torch 2.11 cannot compile the public one",
    "torch._fused_adamw_": "train/optimizer.py: one pass over an adapter, its clip as a tensor",
    "_attn_implementation": "model/attention.py: transformers has no public way back",
    "_internal_name": "tracking/dashboard.py: wandb-workspaces has no other way to choose a workspace's address",
    "deepspeed.ops.__compatible_ops__": "train/engine.py: no compiler on new machines",
    "ray._private.services": "engine/ray/cluster.py: guarded, only for a quicker message",
    "ray._private.state": "engine/ray/holders.py: guarded; jobs that have ended, without the dashboard",
}


def private_names(source: str) -> Iterator[str]:
    """Yield the private names of other packages that a module uses, to the first private part and one beyond."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            yield from (name for name in names if any(part.startswith("_") for part in name.split(".")))
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            parts = name.removesuffix(".__version__").split(".")
            if parts[0] in PACKAGES and any(part.startswith("_") for part in parts):
                yield name
            elif node.attr in {"_attn_implementation", "_internal_name"}:
                yield node.attr


@pytest.mark.slow
def test_every_private_name_is_listed() -> None:
    used = {
        (path.name, name) for path in (ROOT / "src").rglob("*.py") for name in private_names(path.read_text("utf-8"))
    }
    listed = tuple(USED)
    unlisted = [(file, name) for file, name in used if not any(name in one or one in name for one in listed)]
    assert not unlisted, "list them here, with an upper bound in pyproject.toml or a guard"
    assert all(any(one in name for _, name in used) for one in listed), "these are used no more"


@pytest.mark.parametrize("package", PACKAGES)
def test_their_packages_have_upper_bounds(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (wanted,) = [d for d in project["dependencies"] if d.startswith((f"{package}>", f"{package}["))]
    assert ",<" in wanted


@pytest.mark.parametrize(("package", "extra"), OPTIONAL.items())
def test_optional_packages_have_upper_bounds(package: str, extra: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    (wanted,) = [d for d in extras[extra] if d.startswith(f"{package}>")]
    assert ",<" in wanted


def test_the_address_of_a_workspace_is_chosen_as_before() -> None:
    from wandb_workspaces.workspaces import Workspace

    workspace = Workspace(entity="someone", project="p", name="n")
    assert workspace._internal_name == ""
    workspace._internal_name = "nw-0123456789a-v"
    assert workspace._to_model().name == "nw-0123456789a-v"


def test_torch_compiles_for_all_sizes_as_before() -> None:
    import torch._dynamo
    import torch.fx.experimental._config

    with (
        torch._dynamo.config.patch(assume_static_by_default=False, specialize_float=True),
        torch.fx.experimental._config.patch(use_duck_shape=False),
    ):
        assert not torch._dynamo.config.assume_static_by_default
    assert isinstance(torch._dynamo.config.recompile_limit, int)


def test_fused_adamw_divides_by_a_scale_that_is_a_tensor() -> None:
    """Its first step moves by the rate whatever the scale; its moments have the scaled gradient."""
    p, grad = torch.zeros(4), torch.full((4,), 8.0)
    first, second, step = torch.zeros(4), torch.zeros(4), torch.ones(())
    torch._fused_adamw_(
        [p], [grad], [first], [second], [], [step], lr=0.5, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=0.0,
        amsgrad=False, maximize=False, grad_scale=torch.tensor(4.0), found_inf=None,
    )  # fmt: skip
    torch.testing.assert_close(p, torch.full((4,), -0.5))
    torch.testing.assert_close(first, torch.full((4,), 0.2))


def test_transformers_chooses_attention_by_the_configuration() -> None:
    from transformers import AttentionInterface, LlamaConfig

    config = LlamaConfig()
    config._attn_implementation = "sdpa"
    assert config._attn_implementation == "sdpa"
    assert {"name", "key", "key_value", "function", "value"} & set(
        inspect.signature(AttentionInterface.register).parameters
    )


def test_without_ray_s_own_notes_a_cluster_is_looked_for_as_ray_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ray._private.services", None)
    _check_reachable("auto")  # no address is known, so nothing is checked: Ray itself raises the error
