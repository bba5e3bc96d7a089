"""Join a Ray cluster, or start a local one that ends with the driver."""

import contextlib
import errno
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

import xlharm
from xlharm.engine.trouble import EngineError, one_line
from xlharm.errors import UserError
from xlharm.parallel import usable_cores

logger = logging.getLogger(__name__)

NAMESPACE = "xlharm"
_OBJECT_STORE = 100 << 20  # bytes; results go through the xlharm store, so Ray's object store may be small
# A Unix socket's path has at most 107 bytes. Ray adds `/ray/session_DATE_TIME_PID/sockets/plasma_store`.
LONGEST_TMPDIR = 107 - len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1")
"""Most bytes of the folder for temporary files: Ray makes its sockets in it."""
_SHORT_TMPDIR = Path("/tmp")  # noqa: S108 - the folder below it belongs to this user alone
_CONNECT_SECONDS = 15.0  # time for a machine to accept a connection
_PROBE_SECONDS = 2.0  # the same, for a head that did accept one before
_JOIN_SECONDS = 45.0  # for a cluster that was started anew to be joined again
_PAUSE_SECONDS = 3.0  # between two attempts
_STARTS = 3  # attempts to start Ray: it gives its own processes 15 to 30 s, too little for a busy machine
_START_SLOW = "timed out during startup"  # what Ray says then
AUTH_HELP = (
    "the Ray cluster asks for a token that this process does not send: set RAY_AUTH_MODE=token for this "
    "command (and RAY_AUTH_TOKEN, or ~/.ray/auth_token, as on the cluster), or start the cluster with "
    "RAY_AUTH_MODE=disabled"
)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The Ray cluster that this process is connected to.

    Attributes:
        local: whether this process started it; it then ends with the process.
        head: address of its head, "host:port".
        node: id of the node that this process is connected to.
        labels: only nodes with all these labels count.
    """

    local: bool
    head: str
    node: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def cpus(self) -> list[int]:
        """Return the CPUs of every living node that has any."""
        return [n for n in (int(r.get("CPU", 0)) for r in self._nodes()) if n > 0]

    def gpus(self) -> int:
        """Return how many GPUs the living nodes have."""
        return sum(int(r.get("GPU", 0)) for r in self._nodes())

    def head_answers(self) -> bool:
        """Whether the head accepts connections. Ray's own calls would wait for a dead one for a minute or longer."""
        host, _, port = self.head.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()
        except OSError:
            return False
        return True

    def node_lives(self) -> bool:
        """Whether the cluster counts this process's node as alive; call this only while the head answers.

        When that node has died, the cluster takes this process for dead as well and starts no worker for it.
        """
        return any(node["NodeID"] == self.node for node in _living_nodes())

    def _nodes(self) -> list[dict[str, float]]:
        wanted = self.labels.items()
        return [n["Resources"] for n in _living_nodes() if wanted <= (n.get("Labels") or {}).items()]


def _living_nodes() -> list[dict[str, Any]]:
    import ray

    require_same_head()
    return [node for node in ray.nodes() if node["Alive"]]


def require_same_head() -> None:
    """Ask the head for something small; do this before the tables of the cluster are read.

    Raises:
        RayError: it is another one than this process has joined. Reading a table, such as that of ``ray.nodes``, would
            end the process then: Ray takes the head's answer for a fault in itself.
    """
    import ray.util

    ray.util.list_named_actors()


def wanted_address(address: str | None) -> str | None:
    """Return the address of the cluster to join: the given one, or that of a submitted job; None starts a local one.

    Raises:
        UserError: the address is that of a job server.
    """
    if address is None and os.environ.get("RAY_ADDRESS"):
        return "auto"
    if address is not None and address.startswith(("http://", "https://")):
        raise UserError(
            f"--address {address}: that is a job server; submit to it with `ray job submit --address {address} "
            "--working-dir . -- xlharm run`, or give the cluster's own address (auto, or HOST:6379)"
        )
    return address


@contextlib.contextmanager
def connected(address: str | None, *, cpus: int | None, device: Literal["auto", "cpu", "cuda"]) -> Iterator[Cluster]:
    """Join or start a cluster.

    Args:
        address: address of a cluster; None starts one on this machine.
        cpus: fewest CPUs that a local cluster offers, even when the machine has fewer.
        device: `cpu` hides GPUs from a local cluster.

    Raises:
        UserError: no cluster answers at the address, or it requires a token.
        EngineError: a local cluster does not start.
    """
    joined = wanted_address(address)
    import ray

    if ray.is_initialized():
        yield _joined(ray, local=False)
        return
    agents: list[psutil.Process] = []
    try:
        _init(ray, joined, cpus=cpus, device=device)
        agents = _agents() if joined is None else []
        yield _joined(ray, local=joined is None)
    finally:
        try:
            ray.shutdown()
        finally:
            _end(agents)


def _joined(ray: Any, *, local: bool) -> Cluster:
    context = ray.get_runtime_context()
    return Cluster(local=local, head=context.gcs_address, node=context.get_node_id())


def _agents() -> list[psutil.Process]:
    """Return the processes that the raylet of our own cluster has started; those of a joined one are not children."""
    started: list[psutil.Process] = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if child.name() == "raylet":
                started += child.children(recursive=True)
    return started


def _end(processes: Iterable[psutil.Process]) -> None:
    """Kill what is left: when a raylet could not end its agents, they look for the head for another minute."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def joined_again(connect: Callable[[], Cluster]) -> Cluster:
    """Connect once more, and again until it succeeds: a cluster that was started anew is not ready at once.

    Raises:
        EngineError: no attempt within ``_JOIN_SECONDS`` succeeded, or our own cluster does not start.
    """
    from ray.exceptions import RayError

    deadline = time.monotonic() + _JOIN_SECONDS
    while True:
        try:
            return connect()
        except (UserError, RayError) as error:  # the user's address was right when the run began
            if time.monotonic() >= deadline:
                message = f"{one_line(error)}; when the cluster is back, run the same command again"
                raise EngineError(message) from None
        time.sleep(_PAUSE_SECONDS)


def prepare(address: str | None) -> None:
    """Set Ray's environment variables; call this before Ray is imported, because Ray reads them then."""
    defaults = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    if wanted_address(address) is None:
        if "ray" not in sys.modules:
            # Without this, Ray writes a token to ~/.ray, and clusters that are started later by hand require it.
            defaults |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        package = str(Path(xlharm.__file__).resolve().parent.parent)
        paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
        if package not in paths and not package.endswith("-packages"):  # a source tree that workers must import
            os.environ["PYTHONPATH"] = os.pathsep.join([package, *paths])
        if folder := _short_folder(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or str(_SHORT_TMPDIR)):
            os.environ["RAY_TMPDIR"] = folder
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _short_folder(folder: str) -> str | None:
    """Return another folder for Ray where its sockets' paths would be too long in this one; None where it will do."""
    if len(os.fsencode(folder)) <= LONGEST_TMPDIR:
        return None
    short = _SHORT_TMPDIR / f"xlharm-{os.getuid()}"
    try:
        short.mkdir(mode=0o700, exist_ok=True)
        if short.stat().st_uid != os.getuid():
            raise PermissionError(errno.EACCES, "it belongs to somebody else", str(short))
    except OSError as error:
        raise UserError(
            f"TMPDIR {folder}: over {LONGEST_TMPDIR} bytes, too long for the paths of Ray's sockets: "
            f"set RAY_TMPDIR to a shorter folder ({error})"
        ) from None
    logger.warning("TMPDIR %s is too long for the paths of Ray's sockets: Ray uses %s", folder, short)
    return str(short)


def _init(ray: Any, address: str | None, *, cpus: int | None, device: str) -> None:
    quiet = {"logging_level": "ERROR", "log_to_driver": False, "namespace": NAMESPACE}
    try:
        if address is not None:
            _check_reachable(address)
            ray.init(address=address, **quiet)
            return
        local = {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
            "num_cpus": max(usable_cores(), cpus or 0),  # Ray counts those of the machine
            "num_gpus": 0 if device == "cpu" else None,
        }
        for attempt in range(_STARTS):
            try:
                ray.init(**local, **quiet)
                return
            except Exception as error:
                if _START_SLOW not in str(error) or attempt == _STARTS - 1:
                    raise
                logger.warning("Ray has not started in time on this machine, which is busy: trying again")
                ray.shutdown()
    except Exception as error:  # noqa: BLE001 - Ray raises many classes; _explained turns each into ours
        raise _explained(error, address) from None


def _check_reachable(address: str) -> None:
    """Fail at once when no process listens at the address: Ray would retry for minutes and print unclear lines."""
    if address == "auto":
        with contextlib.suppress(ImportError, AttributeError):  # a private function of Ray: it may move or vanish
            from ray._private.services import canonicalize_bootstrap_address

            address = os.environ.get("RAY_ADDRESS") or canonicalize_bootstrap_address("auto") or "auto"
    host, _, port = address.rpartition(":")
    if host and "//" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()


def _explained(error: Exception, address: str | None) -> Exception:
    message = one_line(error)
    if is_auth_trouble(error):
        return UserError(AUTH_HELP)
    if address is not None:
        return UserError(
            f"--address {address}: no Ray cluster answers there: {message[:200]}; start one with `ray start --head`, "
            "or leave --address out to start a local one"
        )
    return EngineError(f"Ray does not start on this machine: {message}")


def is_auth_trouble(error: BaseException) -> bool:
    """Whether Ray refused the connection because a token is missing or wrong.

    Ray raises the same class when the head has been started again meanwhile, and calls that a wrong cluster.
    """
    text = f"{type(error).__name__} {error}".lower()
    if "wrongclusterid" in text:
        return False
    return "authentication" in text or "unauthenticated" in text or "auth_token" in text
