"""The Kubernetes manifests against KubeRay's own schemas, read as an API server with strict field validation does."""

import copy
import gzip
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from typer.main import get_command

from xlharm.cli.main import app
from xlharm.config.load import load_grid

ROOT = Path(__file__).parents[2]
MANIFESTS = {"rayjob": "RayJob", "raycluster": "RayCluster"}


def manifest(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((ROOT / f"cluster/kubernetes/{name}.yaml").read_text())


def strict(node: Any) -> Any:
    """A structural schema with its pruning rule: a field that it does not name is an error, not silently dropped."""
    if isinstance(node, list):
        return [strict(n) for n in node]
    if not isinstance(node, dict):
        return node
    out = {k: {n: strict(s) for n, s in v.items()} if k == "properties" else strict(v) for k, v in node.items()}
    if out.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    named = "properties" in out and "additionalProperties" not in out
    if named and not out.get("x-kubernetes-preserve-unknown-fields"):
        out["additionalProperties"] = False
    return out


def problems(name: str, document: Any) -> list[str]:
    with gzip.open(Path(__file__).parent / f"crds/{name}s.v1.json.gz") as file:
        schema = strict(json.load(file))
    schema["properties"]["metadata"] = {"type": "object"}  # checked by the API server, not by the definition
    return [f"{e.json_path}: {e.message}" for e in Draft202012Validator(schema).iter_errors(document)]


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_are_what_kuberay_takes(name: str) -> None:
    document = manifest(name)
    assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", MANIFESTS[name])
    assert problems(name, document) == []


def cluster_of(document: Any) -> Any:
    return document["spec"].get("rayClusterSpec", document["spec"])


def container(document: Any) -> Any:
    return cluster_of(document)["headGroupSpec"]["template"]["spec"]["containers"][0]


def _typo(document: Any) -> None:
    container(document)["volumeMount"] = container(document).pop("volumeMounts")


def _wrong_type(document: Any) -> None:
    cluster_of(document)["workerGroupSpecs"][0]["maxReplicas"] = "eight"


def _missing(document: Any) -> None:
    del cluster_of(document)["workerGroupSpecs"][0]["groupName"]


def _mode(document: Any) -> None:
    cluster_of(document)["authOptions"]["mode"] = "tokens"


def _quantity(document: Any) -> None:
    container(document)["resources"]["limits"]["memory"] = "8 gigabytes"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_typo, "'volumeMount' was unexpected"),
        (_wrong_type, "'eight' is not of type 'integer'"),
        (_missing, "'groupName' is a required property"),
        (_mode, "'tokens' is not one of ['disabled', 'token']"),
        (_quantity, "'8 gigabytes' does not match"),
    ],
)
@pytest.mark.parametrize("name", MANIFESTS)
def test_mistakes_are_noticed(name: str, damage: Callable[[Any], None], message: str) -> None:
    document = json.loads(json.dumps(manifest(name)))  # aliases become copies
    damage(document)
    assert any(message in problem for problem in problems(name, document))


def test_unknown_fields_pass_only_where_the_schema_says_so() -> None:
    schema = {"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": True}}}
    check = Draft202012Validator(strict(schema)).is_valid
    open_ = Draft202012Validator(strict({**schema, "x-kubernetes-preserve-unknown-fields": True})).is_valid
    assert check({"a": 1})
    assert check({"a": "1"})
    assert not check({"a": [1]})
    assert not check({"b": 1})
    assert open_({"b": 1})


def test_the_entrypoint_is_a_command_of_ours() -> None:
    words = shlex.split(manifest("rayjob")["spec"]["entrypoint"])
    assert words[:2] == ["xlharm", "run"]
    command = get_command(app).commands["run"]
    given = command.make_context("run", copy.copy(words[2:])).params
    assert given["store"] == "/store"
    assert (given["workers"], given["device"]) == (4, "cuda")
    path = Path(str(given["grid"])).relative_to("/opt/xlharm")
    assert load_grid(ROOT / path, overrides=given["overrides"]).dtype == "bfloat16"


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_pod_is_unprivileged_limited_and_sees_the_store(name: str) -> None:
    cluster = cluster_of(manifest(name))
    claim = YAML(typ="safe", pure=True).load((ROOT / "cluster/kubernetes/store.yaml").read_text())
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    pods = [g["template"]["spec"] for g in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        (one,) = pod["containers"]
        assert one["volumeMounts"][0] == {"name": pod["volumes"][0]["name"], "mountPath": "/store"}
        assert not one["securityContext"]["allowPrivilegeEscalation"]
        assert one["resources"]["requests"].keys() == one["resources"]["limits"].keys()
    assert [g["minReplicas"] for g in cluster["workerGroupSpecs"]] == [0, 0]
    spot, on_demand = cluster["workerGroupSpecs"]
    assert spot["priority"] > on_demand["priority"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_versions_agree(name: str) -> None:
    text = (ROOT / f"cluster/kubernetes/{name}.yaml").read_text()
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert cluster_of(manifest(name))["rayVersion"] == pinned[1]
    images = set(re.findall(r"image: (\S+)", text))
    built = re.search(r"docker build .* -t (\S+)", (ROOT / "cluster/container/Dockerfile").read_text())
    assert built
    assert images == {built[1]}
