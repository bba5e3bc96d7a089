"""The main job as its user runs it: real Ray, real kills, a real cluster."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Xlharm, command, environment
from tests.faults.processes import ending

pytestmark = pytest.mark.cluster


def commits(store: Path) -> dict[str, float]:
    """When each finished stage was committed."""
    return {str(p.parent): p.stat().st_mtime for p in (store / "stages").glob("*/*/_SUCCESS")}


def table(xlharm: Xlharm, grid: Path, store: Path) -> str:
    done = xlharm("results", grid, "--store", store, "--format", "csv")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_run_again_grow_damage_and_look(xlharm: Xlharm, xlharm_here: Xlharm, grid_file: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = xlharm("run", grid_file, "--store", store, "-s", "contaminate=[none, de]", "--report", tmp_path / "r.html")
    assert first.returncode == 0, first.stderr + first.stdout
    assert (tmp_path / "r.html").stat().st_size > 10_000
    before = commits(store)
    again = xlharm_here("run", grid_file, "--store", store, "-s", "contaminate=[none, de]")
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout
    assert commits(store) == before

    grown = xlharm("run", grid_file, "--store", store)  # + ur
    assert grown.returncode == 0, grown.stderr + grown.stdout
    after = commits(store)
    assert {k: after[k] for k in before} == before
    assert len(after) == 39
    whole = table(xlharm_here, grid_file, store)
    assert whole.count("\n") == 1 + 9 * 3

    why = xlharm_here("plan", grid_file, "--store", store, "-s", "methods.npo.learning_rate=1e-4", "--why", "ur/en")
    assert "spec.training.learning_rate: 0.005 -> 0.0001" in why.stdout

    damaged = next((store / "stages" / "sft").iterdir())
    (damaged / "adapter_model.safetensors").write_bytes(b"damaged")
    mended = xlharm("run", grid_file, "--store", store)
    assert mended.returncode == 0, mended.stderr + mended.stdout
    assert table(xlharm_here, grid_file, store) == whole
    assert len(list((store / "corrupt").iterdir())) == 1

    asked = xlharm_here("ask", grid_file, "ur/en", "Kabo?", "--store", store)
    assert asked.returncode == 0, asked.stderr
    exported = xlharm_here("export", grid_file, "ur/en", tmp_path / "adapter", "--store", store)
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "adapter" / "adapter_config.json").exists()
    unused = xlharm_here("gc", grid_file, "--store", store)
    assert "Would remove" in unused.stdout
    assert commits(store).keys() == after.keys()


def test_kills_cost_nothing_that_was_finished(xlharm_here: Xlharm, grid_file: Path, tmp_path: Path) -> None:
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    assert xlharm_here("run", grid_file, "--store", calm, "--executor", "in-process", "--device", "cpu").returncode == 0

    driver = subprocess.Popen(
        command("run", grid_file, "--store", stormy),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    _until(lambda: len(commits(stormy)) >= 4, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    time.sleep(3)  # a worker that was committing that moment may finish
    kept = commits(stormy)
    assert 4 <= len(kept) < 39

    second = subprocess.Popen(
        command("run", grid_file, "--store", stormy),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    )
    _until(lambda: len(commits(stormy)) > len(kept), second)
    for pid in _workers_of(second.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    out, _ = second.communicate(timeout=300)
    assert second.returncode == 0, out
    after = commits(stormy)
    assert {k: after[k] for k in kept} == kept
    assert table(xlharm_here, grid_file, stormy) == table(xlharm_here, grid_file, calm)


@pytest.mark.heavy
def test_ctrl_c_leaves_everything_resumable(xlharm: Xlharm, grid_file: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    driver = subprocess.Popen(
        command("run", grid_file, "--store", store),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    )
    _until(lambda: len(commits(store)) >= 3, driver)
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=200)
    assert driver.returncode == 130, out
    assert "go on with" in out
    done = xlharm("run", grid_file, "--store", store)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(commits(store)) == 39


@pytest.mark.heavy
def test_a_limit_stops_the_run_and_says_how_to_go_on(xlharm: Xlharm, grid_file: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    limited = xlharm("run", grid_file, "--store", store, "--max-gpu-hours", 0.0005)
    assert limited.returncode == 1, limited.stdout + limited.stderr
    assert "Stopped by --max-gpu-hours" in limited.stdout
    assert f"go on with: xlharm run {grid_file} --store {store} --max-gpu-hours 0.0005" in limited.stdout
    assert len(commits(store)) < 39
    done = xlharm("run", grid_file, "--store", store, "--deadline", "2h")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(commits(store)) == 39
    for option, value in (("--deadline", "soon"), ("--max-gpu-hours", "0")):
        wrong = xlharm("run", grid_file, "--store", store, option, value)
        assert wrong.returncode == 2
        assert f"{option} {value}: expected" in wrong.stderr


@pytest.fixture
def head(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A real cluster of one node with its job server, authentication off and on ports of its own."""
    ray = str(Path(sys.executable).with_name("ray"))
    ports = [_free_port() for _ in range(3)]
    env = {**environment(), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    named = {"port": ports[0], "dashboard-port": ports[1], "dashboard-agent-listen-port": ports[2], "num-cpus": 2}
    arguments = ["--head", "--dashboard-host=127.0.0.1", *(f"--{name}={value}" for name, value in named.items())]
    process = subprocess.Popen(
        [ray, "start", "--block", *arguments], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{ports[1]}"
    with ending(process):  # and nobody else's Ray
        _until(lambda: _answers(f"{address}/api/version"), process)
        yield address, env


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url).status_code == 200
    return False


@pytest.mark.heavy
def test_ray_job_submit_runs_to_the_end_and_then_has_nothing_to_do(
    head: tuple[str, dict[str, str]], xlharm: Xlharm, grid_file: Path, tmp_path: Path
) -> None:
    address, env = head
    ray = str(Path(sys.executable).with_name("ray"))
    folder = tmp_path / "submitted"
    folder.mkdir()
    grid_file.rename(folder / "mini.yaml")
    job = command("run", "mini.yaml", "--store", tmp_path / "shared")

    def submit() -> str:
        deadline = time.monotonic() + 90
        while True:
            done = subprocess.run(
                [ray, "job", "submit", "--address", address, "--working-dir", str(folder), "--", *job],
                env=env,
                capture_output=True,
                text=True,
                timeout=400,
                check=False,
            )
            if "No available agent" not in done.stderr + done.stdout or time.monotonic() > deadline:
                break
            time.sleep(2)  # the cluster's job agent starts some seconds after its head
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        return done.stdout

    assert "39 of 39 are stored" in submit()
    before = commits(tmp_path / "shared")
    assert "Nothing to do" in submit()
    assert commits(tmp_path / "shared") == before


def _until(happened: object, process: subprocess.Popen[str] | subprocess.Popen[bytes], *, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, "the run ended before what the test waits for"
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.05)


def _workers_of(driver: int) -> list[int]:
    """Find the Ray actors below a driver's process."""
    import psutil

    below = psutil.Process(driver).children(recursive=True)
    return [p.pid for p in below if any("ray::" in part and "orker" in part for part in p.cmdline()[:1])]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
