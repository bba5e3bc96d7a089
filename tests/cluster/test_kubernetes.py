"""The Kubernetes manifests against KubeRay's own schemas, read as an API server with strict field validation does."""

import copy
import gzip
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from typer.main import get_command

from xlharm.cli.main import app
from xlharm.config.load import load_grid
from xlharm.engine.driver import STOP_SECONDS

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "cluster" / "kubernetes"
MANIFESTS = {"rayjob": "RayJob", "raycluster": "RayCluster"}
FOLDERS = {"rayjob": "job", "raycluster": "cluster"}


def documents(path: str) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all((KUBERNETES / path).read_text()))


def manifest(name: str) -> Any:
    (one,) = documents(f"{FOLDERS[name]}/{name}.yaml")
    return one


def pods_of(document: Any) -> list[Any]:
    """The templates of a head and its workers."""
    cluster = cluster_of(document)
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


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
    path = KUBERNETES / "job" / Path(str(given["grid"])).relative_to("/grid")
    assert load_grid(path, overrides=given["overrides"]).dtype == "bfloat16"


def test_the_grid_beside_the_job_is_mounted_where_the_command_reads_it() -> None:
    assert (KUBERNETES / "job/grid.yaml").read_text() == (ROOT / "grid/quickstart.yaml").read_text()
    (overlay,) = documents("job/kustomization.yaml")
    (generated,) = overlay["configMapGenerator"]
    assert generated["files"] == ["grid.yaml"]
    assert overlay["generatorOptions"]["disableNameSuffixHash"]
    head = pods_of(manifest("rayjob"))[0]["spec"]
    (volume,) = [v for v in head["volumes"] if v.get("configMap") == {"name": generated["name"]}]
    assert {"name": volume["name"], "mountPath": "/grid", "readOnly": True} in head["containers"][0]["volumeMounts"]


def test_a_failed_job_is_not_tried_again() -> None:
    assert manifest("rayjob")["spec"]["backoffLimit"] == 0


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_pod_is_unprivileged_limited_and_sees_the_volumes(name: str) -> None:
    claims = documents("common/volumes.yaml")
    assert [claim["spec"]["accessModes"] for claim in claims] == [["ReadWriteMany"]] * 2
    for template in pods_of(manifest(name)):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        (one,) = pod["containers"]
        for claim, path in zip(claims, ["/store", "/cache"], strict=True):
            (volume,) = [
                v for v in pod["volumes"] if v.get("persistentVolumeClaim") == {"claimName": claim["metadata"]["name"]}
            ]
            assert {"name": volume["name"], "mountPath": path} in one["volumeMounts"]
        assert {m["name"] for m in one["volumeMounts"]} <= {v["name"] for v in pod["volumes"]}
        assert not one["securityContext"]["allowPrivilegeEscalation"]
        assert one["resources"]["requests"].keys() == one["resources"]["limits"].keys()
        assert "ephemeral-storage" in one["resources"]["limits"]
        assert {"name": "HF_HOME", "value": "/cache/huggingface"} in one["env"]
        assert one["envFrom"] == [{"secretRef": {"name": "xlharm-keys", "optional": True}}]
    spot, on_demand = cluster_of(manifest(name))["workerGroupSpecs"]
    assert [spot["minReplicas"], on_demand["minReplicas"]] == [0, 0]
    assert spot["priority"] > on_demand["priority"]
    head, _, last = [template["spec"] for template in pods_of(manifest(name))]
    assert head["nodeSelector"] == last["nodeSelector"], "a head on a spot machine ends the run"


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_end_only_after_running_packs_had_time_to_save_their_state(name: str) -> None:
    head, *workers = [template["spec"] for template in pods_of(manifest(name))]
    assert head["terminationGracePeriodSeconds"] >= STOP_SECONDS + 15
    stop = head["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    pattern = re.findall(r"-f '([^']+)'", stop[-1])
    assert len(pattern) == 2
    for one in pattern:
        assert re.search(one, "/opt/venv/bin/python3.12 /opt/venv/bin/xlharm run /grid/grid.yaml --store /store")
        assert not re.search(one, shlex.join(stop)), "it would wait for itself"
        assert not re.search(one, "/bin/sh -c exec xlharm run /grid/grid.yaml"), "the shell around the run must stay"
    assert " procps " in (ROOT / "cluster/container/Dockerfile").read_text()
    for worker in workers:
        word, seconds = worker["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert word == "sleep"
        assert STOP_SECONDS < int(seconds) < worker["terminationGracePeriodSeconds"]
    wait = {e["name"]: e["value"] for e in head["containers"][0]["env"]}["RAY_JOB_STOP_WAIT_TIME_S"]
    assert STOP_SECONDS < int(wait) < head["terminationGracePeriodSeconds"]


def test_policies_select_the_pods() -> None:
    network, budget, *classes = documents("common/policies.yaml")
    kinds = ["NetworkPolicy", "PodDisruptionBudget", "PriorityClass", "PriorityClass"]
    assert [d["kind"] for d in (network, budget, *classes)] == kinds
    label = network["spec"]["podSelector"]["matchLabels"]
    # KubeRay itself sets ray.io/node-type
    assert budget["spec"]["selector"]["matchLabels"] == {**label, "ray.io/node-type": "head"}
    (monitor,) = documents("metrics.yaml")
    assert monitor["spec"]["selector"]["matchLabels"] == label
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    values = {d["metadata"]["name"]: d["value"] for d in classes}
    head_class, worker_class = values
    assert values[head_class] > 0 > values[worker_class]
    opened = [port["port"] for rule in network["spec"]["ingress"] for port in rule.get("ports", ())]
    for name in MANIFESTS:
        document = manifest(name)
        templates = pods_of(document)
        assert [t["spec"]["priorityClassName"] for t in templates] == [head_class, worker_class, worker_class]
        submitter = document["spec"].get("submitterPodTemplate")  # it must reach the head, too
        assert all(t["metadata"]["labels"] == label for t in [*templates, *([submitter] if submitter else [])])
        ports = [{p["name"]: p["containerPort"] for p in t["spec"]["containers"][0]["ports"]} for t in templates]
        assert opened == [ports[0]["dashboard"], ports[0][endpoint["port"]]]
        assert {p[endpoint["port"]] for p in ports} == {ports[0][endpoint["port"]]}


def test_the_image_is_named_once() -> None:
    (component,) = documents("image/kustomization.yaml")
    (image,) = component["images"]
    built = re.search(r"docker build .* -t (\S+)", (ROOT / "cluster/container/Dockerfile").read_text())
    assert built
    assert f"{image['newName']}:{image['newTag']}" == built[1]
    naming = [p for p in KUBERNETES.rglob("*.yaml") if image["newName"] in p.read_text()]
    assert naming == [KUBERNETES / "image/kustomization.yaml"]
    for name, folder in FOLDERS.items():
        assert documents(f"{folder}/kustomization.yaml")[0]["components"] == ["../image"]
        text = (KUBERNETES / folder / f"{name}.yaml").read_text()
        assert set(re.findall(r"image: (\S+)", text)) == {image["name"]}


def test_every_file_belongs_to_a_kustomization_or_stands_alone() -> None:
    named = set()
    for path in KUBERNETES.glob("*/kustomization.yaml"):
        (overlay,) = documents(path.relative_to(KUBERNETES).as_posix())
        generated = [f for g in overlay.get("configMapGenerator", ()) for f in g["files"]]
        parts = [*overlay.get("resources", ()), *overlay.get("components", ()), *generated]
        named |= {(path.parent / part).resolve() for part in parts}
        assert all((path.parent / part).exists() for part in parts)
    alone = {p for p in KUBERNETES.rglob("*.yaml") if p.name != "kustomization.yaml" and p.resolve() not in named}
    assert alone == {KUBERNETES / "metrics.yaml"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("name", MANIFESTS)
def test_what_kustomize_makes_is_what_kuberay_takes(name: str) -> None:
    command = ["kubectl", "kustomize", str(KUBERNETES / FOLDERS[name])]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    made = {d["kind"]: d for d in YAML(typ="safe", pure=True).load_all(text)}
    document = made.pop(MANIFESTS[name])
    assert problems(name, document) == []
    (image,) = documents("image/kustomization.yaml")[0]["images"]
    assert set(re.findall(r"image: (\S+)", text)) == {f"{image['newName']}:{image['newTag']}"}
    grids = [d["data"] for d in made.values()]
    assert grids == ([{"grid.yaml": (ROOT / "grid/quickstart.yaml").read_text()}] if name == "rayjob" else [])


@pytest.mark.parametrize("name", MANIFESTS)
def test_versions_agree(name: str) -> None:
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert cluster_of(manifest(name))["rayVersion"] == pinned[1]
