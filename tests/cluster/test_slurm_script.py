"""The Slurm script with stand-ins for the programs that it calls: what it asks for, and how it ends."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm" / "xlharm.sbatch"
STAND_INS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; SLURM_PROCID=0 exec "$@"',
    "scontrol": 'case "$*" in *hostnames*) echo n1;; *"show node"*) echo NodeAddr=127.0.0.1;; esac',
    "ray": 'case "$1" in start) sleep 5 > /dev/null 2>&1 & trap "kill $!" TERM EXIT; wait;; esac',
    "apptainer": 'shift; while [[ $1 == --* ]]; do shift; done; shift; exec "$@"',
    "xlharm": r"""
until grep -q "^ray start" "$(dirname "$0")/../calls"; do sleep 0.02; done # a run waits for its cluster
if [[ -n ${WARN:-} ]]; then
  trap "kill \$!; exit $WARN" TERM
  sleep 0.2 # until the script knows the process
  kill -USR1 $PPID
  sleep 20 > /dev/null 2>&1 &
  wait
fi
exit ${CODE:-0}""",
}


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A folder of programs that write their command lines to the returned file."""
    log = tmp_path / "calls"
    (tmp_path / "bin").mkdir()
    for name, body in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {log}\n{body}\n')
        path.chmod(0o755)
    return log


def job(calls: Path, **env: str) -> subprocess.CompletedProcess[str]:
    settings = {
        "PATH": f"{calls.parent / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1",
        "SLURM_NNODES": "1", "SLURM_CPUS_PER_TASK": "1", "XLHARM_ACTIVATE": "", "XLHARM_RAY_TMPDIR": str(calls.parent),
    }  # fmt: skip
    return subprocess.run(
        ["bash", str(SCRIPT), "my grid.yaml"], env={**settings, **env}, capture_output=True, text=True, timeout=60,
        cwd=calls.parent, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_job_ends_as_the_run_does_and_is_not_queued_again(calls: Path, code: int) -> None:
    assert job(calls, CODE=str(code)).returncode == code
    lines = calls.read_text().splitlines()
    assert any(line.startswith("xlharm run my grid.yaml --address 127.0.0.1:") for line in lines)
    assert "scontrol requeue 7" not in lines


@pytest.mark.parametrize(("code", "queued"), [(130, True), (143, True), (2, False), (1, False)])
def test_only_a_run_that_the_warning_stopped_is_queued_again(calls: Path, code: int, *, queued: bool) -> None:
    done = job(calls, WARN=str(code))
    assert done.returncode == code, done.stderr
    assert ("scontrol requeue 7" in calls.read_text().splitlines()) is queued


def test_an_image_runs_ray_and_the_grid(calls: Path) -> None:
    image = calls.parent / "xlharm.sif"
    image.touch()
    assert job(calls, XLHARM_IMAGE=str(image)).returncode == 0
    lines = calls.read_text().splitlines()
    inside = [line.removeprefix(f"apptainer exec --nv {image} ") for line in lines if line.startswith("apptainer")]
    own = [line for line in lines if line.startswith(("ray", "xlharm"))]
    assert sorted(inside) == sorted(own)
    assert any(line.startswith("ray start --block --head") for line in own)
    assert any(line.startswith("xlharm run my grid.yaml") for line in own)


def test_a_missing_image_is_a_mistake(calls: Path) -> None:
    done = job(calls, XLHARM_IMAGE="none.sif")
    assert (done.returncode, done.stderr) == (2, "error: XLHARM_IMAGE: no such file: none.sif\n")
    assert not calls.exists()


def test_it_asks_for_memory_and_names_no_partition() -> None:
    asked = [line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --mem=64G" in asked
    assert not [line for line in asked if "partition" in line or "account" in line]
