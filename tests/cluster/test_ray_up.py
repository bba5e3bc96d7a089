"""`ray up` files against Ray's own schema and its own preparation of them; starts no machine."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import ray
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CLOUDS = ("aws", "gcp")


def read(cloud: str) -> Any:
    return YAML(typ="safe", pure=True).load((ROOT / f"cluster/ray-up/{cloud}.yaml").read_text())


def problems(document: Any) -> list[str]:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    return [f"{e.json_path}: {e.message}" for e in Draft7Validator(schema).iter_errors(document)]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_takes_them(cloud: str) -> None:
    document = read(cloud)
    assert problems(document) == []
    assert document["head_node_type"] in document["available_node_types"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_mistakes_are_noticed(cloud: str) -> None:
    document = read(cloud)
    document["max_worker"] = document.pop("max_workers")
    assert any("'max_worker' was unexpected" in p for p in problems(document))
    document = read(cloud)
    del document["available_node_types"]["gpu-spot"]["resources"]
    assert any("'resources' is a required property" in p for p in problems(document))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_gpu_machines_come_when_needed_and_authentication_is_on(cloud: str) -> None:
    document = read(cloud)
    types = document["available_node_types"]
    assert [types[name]["min_workers"] for name in ("gpu-spot", "gpu-on-demand")] == [0, 0]
    assert "spot" in json.dumps(types["gpu-spot"]["node_config"]).lower()
    assert "spot" not in json.dumps(types["gpu-on-demand"]["node_config"]).lower()
    assert "--env RAY_AUTH_MODE=token" in document["docker"]["run_options"]
    assert "/home/xlharm/.ray/auth_token" in document["file_mounts"]
    built = re.search(r"docker build .* -t (\S+)", (ROOT / "cluster/container/Dockerfile").read_text())
    assert built
    assert document["docker"]["image"] == built[1]
