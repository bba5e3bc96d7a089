"""Handing a command to the job server of a Ray cluster, and following it."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from xlharm.engine.ray.cluster import AUTH_HELP, is_auth_trouble
from xlharm.engine.trouble import one_line
from xlharm.errors import UserError

_AGENT_PATIENCE = 60.0  # seconds: a cluster's job agent starts some time after its head
_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A command for a cluster.

    Attributes:
        id: by which the cluster knows it; must be new there.
        entrypoint: a line for the shell, run on the cluster in a copy of ``folder``.
        folder: what is uploaded, less what its ``.gitignore`` and ``.rayignore`` name.
        excludes: further patterns of what is not uploaded, as in ``.gitignore``.
        environment: variables that the command finds set.
    """

    id: str
    entrypoint: str
    folder: Path
    excludes: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class JobServer:
    """The job server of a running Ray cluster.

    Args:
        address: its URL, for example ``http://head:8265``.

    Raises:
        UserError: not a URL, nobody answers there, or it asks for a token.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        _knock(self.address)
        # Ray prefers whatever cluster these name to the address it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from ray.job_submission import JobSubmissionClient

        with self._explained():
            self._client: Any = JobSubmissionClient(self.address)

    def submit(self, job: Submission) -> None:
        """Upload the folder and start the command.

        Raises:
            UserError: the cluster does not take it (folder too large, id in use, no token, …).
        """
        runtime = {
            "working_dir": str(job.folder),
            "excludes": list(job.excludes),
            "env_vars": dict(job.environment),
        }
        deadline = time.monotonic() + _AGENT_PATIENCE
        with self._explained():
            while True:
                try:
                    self._client.submit_job(entrypoint=job.entrypoint, submission_id=job.id, runtime_env=runtime)
                except RuntimeError as error:
                    if "No available agent" not in str(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(2)
                else:
                    return

    def follow(self, job: str, *, write: Callable[[str], object]) -> int:
        """Hand on what a job prints until it ends.

        Args:
            job: its id.
            write: called with pieces of its output.

        Returns:
            The command's exit code; 1 when it never started.

        Raises:
            UserError: the server is lost.
        """
        with self._explained():
            asyncio.run(self._tail(job, write))
            while not (info := self._client.get_job_info(job)).status.is_terminal():
                time.sleep(_POLL_SECONDS)
        if info.driver_exit_code is not None:
            return int(info.driver_exit_code)
        if info.status == "SUCCEEDED":
            return 0
        write(f"{info.message}\n")
        return 1

    async def _tail(self, job: str, write: Callable[[str], object]) -> None:
        async for piece in self._client.tail_job_logs(job):
            write(piece)

    @contextlib.contextmanager
    def _explained(self) -> Any:
        try:
            yield
        except Exception as error:
            if is_auth_trouble(error):
                raise UserError(AUTH_HELP) from None
            if isinstance(error, (OSError, RuntimeError, ValueError)):
                raise UserError(f"--address {self.address}: {one_line(error)[:300]}") from None
            raise


def _knock(address: str) -> None:
    """Ask who is there, with patience of seconds where Ray's client has none and minutes."""
    if not address.startswith(("http://", "https://")):
        raise UserError(f"--address {address}: expected the URL of a job server, for example http://HEAD:8265")
    try:
        answer = httpx.get(f"{address}/api/version", timeout=10, headers=_headers())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(f"--address {address}: no Ray job server answers there: {one_line(error)}") from None
    if answer.status_code in {401, 403}:
        raise UserError(AUTH_HELP)
    if answer.status_code != 200 or "ray_version" not in answer.text:
        raise UserError(f"--address {address}: what answers there is no Ray job server (status {answer.status_code})")


def _headers() -> dict[str, str]:
    """Return the token as Ray's client sends it."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    if not token and path.is_file():
        token = path.read_text(encoding="utf-8").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}
