"""Every launch file requires Ray's token: whoever reaches a cluster without one runs code on it."""

import re
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[2] / "cluster"
STARTS = re.compile(r"^[^#\n]*ray start|^kind: Ray(Cluster|Job)", re.MULTILINE)
TOKEN = re.compile(r"^[^#\n]*(RAY_AUTH_MODE=token|secretName: xlharm-ray-token)", re.MULTILINE)


def starting() -> list[Path]:
    return [p for p in sorted(CLUSTER.rglob("*")) if p.is_file() and STARTS.search(p.read_text(encoding="utf-8"))]


def test_the_files_that_start_clusters_are_found() -> None:
    assert [p.relative_to(CLUSTER).as_posix() for p in starting()] == [
        "README.md", "kubernetes/cluster/raycluster.yaml", "kubernetes/job/rayjob.yaml", "ray-up/aws.yaml",
        "ray-up/gcp.yaml", "slurm/xlharm.sbatch",
    ]  # fmt: skip


@pytest.mark.parametrize("path", starting(), ids=lambda path: path.name)
def test_a_file_that_starts_a_cluster_requires_a_token(path: Path) -> None:
    assert TOKEN.search(path.read_text(encoding="utf-8"))
