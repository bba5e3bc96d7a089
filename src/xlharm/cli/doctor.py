"""`xlharm doctor`: what a run needs of this machine, and what to do about what is missing."""

import importlib.metadata
import json
import netrc
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import typer
from rich.text import Text

from xlharm.cli.common import DEFAULT_STORE, StoreUrl, terminal
from xlharm.config.load import load_grid
from xlharm.corpus.finding import base_folder
from xlharm.engine.choices import has_gpu
from xlharm.engine.ray.cluster import LONGEST_TMPDIR
from xlharm.errors import UserError
from xlharm.store.store import Store

_PACKAGES = ("torch", "transformers", "peft", "deepspeed", "ray", "datasets", "wandb")
_LEAST_FREE = 1e9  # bytes in the store
_LEAST_SHARED = 256 << 20  # bytes of /dev/shm: Ray's object store, and NCCL's buffers
_LEAST_FILES = 4096  # open files: below it, Ray warns that connections may fail
_MOST_SKEW = 5.0  # seconds between this machine's clock and the store's
_HUB_SECONDS = 5.0
_NCCL_SECONDS = 90.0
_GPU_CODE = """\
import json, torch
n = torch.cuda.device_count()
out = {"devices": n, "nccl": "", "works": True}
if torch.distributed.is_nccl_available():
    out["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    if n > 1:
        given = [torch.ones(1 << 20, device=i) for i in range(n)]
        torch.cuda.nccl.all_reduce(given)
        out["works"] = all(bool((x == n).all()) for x in given)
print(json.dumps(out))
"""

State = Literal["ok", "note", "bad"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what it is.
        state: ``bad`` ends the command with exit code 1; a ``note`` does not.
        detail: what was found.
        fix: what to do, where something is to be done.
    """

    name: str
    state: State
    detail: str
    fix: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    grid: Annotated[
        Path | None, typer.Argument(metavar="[GRID]", help="Also look whether its base can be had from the hub.")
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    hub: Annotated[bool, typer.Option("--hub", help="Ask the hub of models whether it answers; sends a request.")] = (
        False
    ),
) -> None:
    """Check this machine, and say how to mend what is wrong.

    Python, packages, GPU and NCCL, Ray's authentication, sockets and shared memory, open files, DeepSpeed, store, disk
    and clock, Weights & Biases. Nothing is sent anywhere, but for the hub: with --hub, or a grid whose base is there.

    Exit codes: 0 all checks passed, 1 a check failed.

    \b
    xlharm doctor
    xlharm doctor --store /shared/store
    xlharm doctor grid/newsroom.yaml
    """
    base = _hub_base(grid) if grid is not None else None
    console, good = terminal(), True
    for check in _checks(store, hub=hub, base=base):
        good &= check.state != "bad"
        mark = {"ok": "ok  ", "note": "note", "bad": "BAD "}[check.state]
        fix = f": {check.fix}" if check.fix else ""
        style = {"ok": "", "note": "yellow", "bad": "red"}[check.state]
        console.print(Text(f"{mark} {check.name:<12} {check.detail}{fix}", style=style), soft_wrap=True)
    raise typer.Exit(0 if good else 1)


def _hub_base(grid: Path) -> tuple[str, str | None] | None:
    spec = load_grid(grid)
    near = base_folder(spec.base) or base_folder(str(grid.parent / spec.base))
    return None if near is not None or "/" not in spec.base else (spec.base, spec.revision)


def _checks(store: str, *, hub: bool, base: tuple[str, str | None] | None) -> Iterator[Check]:
    python = sys.version_info >= (3, 11)
    yield Check("python", _state(python), platform.python_version(), "" if python else "install Python 3.11 or newer")
    for name in _PACKAGES:
        try:
            yield Check(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "bad", "not installed", "pip install xlharm, with its dependencies")
    yield from gpu()
    yield ray_auth()
    yield sockets()
    yield shared_memory()
    yield open_files()
    yield _deepspeed()
    yield from _store(store)
    yield wandb()
    if hub or base is not None:
        yield hub_access(base)


def _state(good: bool) -> State:
    return "ok" if good else "bad"


# -- devices -----------------------------------------------------------------------------------------------------


def gpu() -> Iterator[Check]:
    """Look at GPUs, and let NCCL add up numbers of all of them: a wrong set-up makes it hang."""
    if not has_gpu():
        yield Check("gpu", "ok", "none: grids run on the CPU in float32")
        return
    try:
        done = subprocess.run(
            [sys.executable, "-c", _GPU_CODE], capture_output=True, text=True, check=False, timeout=_NCCL_SECONDS
        )
    except subprocess.TimeoutExpired:
        fix = "try NCCL_P2P_DISABLE=1, or a larger /dev/shm; NCCL_DEBUG=INFO shows where it waits"
        yield Check("nccl", "bad", f"adding up over all GPUs hangs for {_NCCL_SECONDS:.0f} s", fix)
        return
    found = json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 and done.stdout.strip() else None
    if found is None:
        fix = "compare the driver's CUDA version (nvidia-smi) with torch's"
        yield Check("gpu", "bad", f"there is one, but torch cannot use it: {done.stderr.strip()[-200:]}", fix)
        return
    yield Check(
        "gpu",
        _state(found["devices"] > 0),
        f"torch sees: {found['devices']} devices",
        "" if found["devices"] else "install torch for CUDA, or set CUDA_VISIBLE_DEVICES",
    )
    yield nccl(found)


def nccl(found: dict[str, object]) -> Check:
    """Judge what was found of NCCL, which gangs of several GPUs need."""
    if not found["nccl"]:
        several = isinstance(found["devices"], int) and found["devices"] > 1
        return Check(
            "nccl", "bad" if several else "note", "torch comes without it: no --ranks above 1", "install torch for CUDA"
        )
    if not found["works"]:
        return Check("nccl", "bad", "sums over all GPUs are wrong", "try NCCL_P2P_DISABLE=1, and look at dmesg")
    if missing := _missing_interfaces(os.environ.get("NCCL_SOCKET_IFNAME", "")):
        have = ", ".join(sorted(path.name for path in Path("/sys/class/net").glob("*")))
        return Check(
            "nccl", "bad", f"NCCL_SOCKET_IFNAME names no interface of this machine: {missing}", f"it has {have}"
        )
    return Check("nccl", "ok", f"version {found['nccl']}")


def _missing_interfaces(wanted: str) -> str:
    """Return the setting if it names interfaces of which this machine has none; "" for other settings."""
    names = [name for name in wanted.lstrip("=").split(",") if name]
    if not names or wanted.startswith("^"):
        return ""
    have = [path.name for path in Path("/sys/class/net").glob("*")]
    exact = wanted.startswith("=")
    found = any(name in have if exact else any(h.startswith(name) for h in have) for name in names)
    return "" if found or not have else wanted


# -- Ray ---------------------------------------------------------------------------------------------------------


def ray_auth() -> Check:
    """Check whether clusters and clients of Ray agree on authentication.

    Since Ray 2.59, a token file turns authentication on for clusters that are started on this machine. But clients send
    the token only if RAY_AUTH_MODE is ``token``; otherwise they fail with an error that does not name the reason.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    given = os.environ.get("RAY_AUTH_TOKEN")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    if mode == "token" and not given and not path.exists():
        fix = f"set RAY_AUTH_TOKEN, or write it to {path}"
        return Check("ray auth", "bad", "RAY_AUTH_MODE=token, but there is no token", fix)
    if not mode and (given or path.exists()):
        where = "RAY_AUTH_TOKEN is set" if given else f"{path} exists"
        why = f"{where}, so `ray start` clusters need the token but clients do not send it"
        return Check("ray auth", "bad", why, "set RAY_AUTH_MODE=token")
    return Check("ray auth", "ok", f"RAY_AUTH_MODE={mode or 'not set'}, clusters and clients agree")


def sockets() -> Check:
    """Check that the paths of Ray's sockets have at most 107 bytes."""
    name = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - Ray's own default
    size = len(os.fsencode(folder))
    if size > LONGEST_TMPDIR:
        why = (
            f"{name} has {size} bytes; with more than {LONGEST_TMPDIR}, paths of Ray's sockets pass 107, and Ray fails"
        )
        return Check("sockets", "bad", why, "export RAY_TMPDIR=/tmp")
    return Check("sockets", "ok", f"{folder}: short enough for the paths of Ray's sockets")


def shared_memory(folder: Path = Path("/dev/shm")) -> Check:  # noqa: S108 - the machine's shared memory
    """Check the size of the shared memory, which containers make small."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return Check("shm", "ok", f"no {folder} here")
    if free < _LEAST_SHARED:
        fix = "docker run --shm-size=8g; in Kubernetes an emptyDir with `medium: Memory` at /dev/shm"
        return Check("shm", "bad", f"{folder}: {free / 1e6:.0f} MB free, too little for Ray and NCCL", fix)
    return Check("shm", "ok", f"{folder}: {free / 1e9:.1f} GB free")


def open_files() -> Check:
    """Check how many files a process may open; Ray raises the soft limit to the hard one by itself."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _LEAST_FILES:
        fix = "raise it: nofile in /etc/security/limits.conf, docker run --ulimit nofile=65536, LimitNOFILE of a unit"
        return Check("open files", "bad", f"at most {hard}; Ray needs {_LEAST_FILES} or more", fix)
    return Check("open files", "ok", "no limit" if hard == resource.RLIM_INFINITY else f"at most {hard}")


def _deepspeed() -> Check:
    code = "import os; os.environ.setdefault('DS_ACCELERATOR', 'cpu'); import deepspeed"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        return Check("import", "bad", done.stderr.strip()[-200:], "pip install 'deepspeed>=0.19,<0.20'")
    return Check("import", "ok", "deepspeed imports")


# -- store -------------------------------------------------------------------------------------------------------


def _store(url: str) -> Iterator[Check]:
    try:
        store = Store(url)
        free = shutil.disk_usage(store.local).free
        now, stored = time.time(), store.now()
    except UserError as error:
        yield Check("store", "bad", str(error))
        return
    where = f" in its cache, {store.local}" if store.remote else ""
    detail = f"{url} is writable, {free / 1e9:.0f} GB free{where}"
    enough = free > _LEAST_FREE
    yield Check(
        "store", _state(enough), detail, "" if enough else "free some space: xlharm gc lists what no grid needs"
    )
    yield clock(stored - now)


def clock(ahead: float) -> Check:
    """Judge by how many seconds the store's clock is ahead of this machine's."""
    if abs(ahead) > _MOST_SKEW:
        behind = "behind" if ahead > 0 else "ahead of"
        fix = "let both follow one time server: timedatectl set-ntp true, or chronyd"
        return Check("clock", "bad", f"this machine is {abs(ahead):.0f} s {behind} the store: deadlines are off", fix)
    return Check("clock", "ok", f"within {_MOST_SKEW:.0f} s of the store's")


# -- other services ----------------------------------------------------------------------------------------------


def wandb() -> Check:
    """Look for a login of Weights & Biases on this machine, without asking it."""
    if os.environ.get("WANDB_MODE") in {"offline", "disabled"}:
        return Check("W&B login", "ok", f"not needed: WANDB_MODE={os.environ['WANDB_MODE']}")
    url = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    if os.environ.get("WANDB_API_KEY"):
        return Check("W&B login", "ok", f"WANDB_API_KEY is set, for {url}")
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        known = netrc.netrc(str(path)).authenticators(urlsplit(url).hostname or "")
    except FileNotFoundError:
        known = None
    except (OSError, netrc.NetrcParseError) as error:
        return Check("W&B login", "bad", f"{path} cannot be read: {error}", "mend or remove it, then `wandb login`")
    if known:
        return Check("W&B login", "ok", f"{path} has a key for {url}")
    return Check("W&B login", "note", "none; only --wandb online needs one", "wandb login, or set WANDB_API_KEY")


def hub_access(base: tuple[str, str | None] | None) -> Check:
    """Ask the hub for a base's configuration, or whether it answers at all, for at most a few seconds."""
    import httpx
    from huggingface_hub import get_token

    from xlharm.plan.base_files import cached_snapshot

    name, revision = base or ("", None)
    if name and revision and cached_snapshot(name, revision) is not None:
        return Check("hub", "ok", f"{name}: commit {revision[:10]} is in this machine's cache")
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return Check("hub", "bad", "HF_HUB_OFFLINE is set, so nothing is fetched", "unset it, or xlharm base import")
    url = f"{endpoint}/{name}/resolve/{revision or 'main'}/config.json" if name else endpoint
    token = get_token()
    try:
        answer = httpx.head(
            url,
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=_HUB_SECONDS,
            follow_redirects=True,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fix = "set HTTPS_PROXY or HF_ENDPOINT, or bring the base as a folder: xlharm base import on another machine"
        return Check("hub", "bad", f"{endpoint} does not answer: {type(error).__name__}", fix)
    return _hub_answer(answer.status_code, name or endpoint, logged_in=token is not None, endpoint=endpoint)


def _hub_answer(status: int, name: str, *, logged_in: bool, endpoint: str) -> Check:
    match status:
        case 401 if not logged_in:
            return Check("hub", "bad", f"{name} needs a login (it is gated, private, or does not exist)",
                         "hf auth login, or set HF_TOKEN")  # fmt: skip
        case 401 | 403:
            return Check("hub", "bad", f"{name}: your login has no access", f"accept its terms at {endpoint}/{name}")
        case 404:
            return Check(
                "hub", "bad", f"{name}: no such model or commit", "compare `base` and `revision` with its page"
            )
        case _ if status >= 400:
            return Check("hub", "bad", f"{name}: the hub answers {status}", "try again later")
        case _:
            return Check("hub", "ok", f"{name} can be had{'' if logged_in else ', without a login'}")
