"""Submit a command to the job server of a Ray cluster, and print its output."""

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

_AGENT_PATIENCE = 60.0  # seconds to wait for a cluster's job agent, which starts some time after its head
_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A command for a cluster.

    Attributes:
        id: name of the job; no other job of the cluster may have it.
        entrypoint: shell command, run on the cluster in a copy of ``folder``.
        folder: folder to upload, without the files that its ``.gitignore`` and ``.rayignore`` name.
        excludes: patterns of further files that are not uploaded, as in ``.gitignore``.
        environment: environment variables of the command.
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
        UserError: the address is no URL, no job server answers there, or it requires a token.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        _check_reachable(self.address)
        # Ray's client prefers the cluster of this variable to the address that it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from ray.job_submission import JobSubmissionClient

        with self._explained():
            self._client: Any = JobSubmissionClient(self.address)

    def submit(self, job: Submission) -> None:
        """Upload the folder and start the command.

        Raises:
            UserError: the cluster refuses the job (folder too large, id in use, no token, …).
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
        """Write a job's output until it ends.

        Args:
            job: the job's id.
            write: called with each piece of output.

        Returns:
            The command's exit code; 1 when it never started.

        Raises:
            UserError: the server no longer answers.
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


def _check_reachable(address: str) -> None:
    """Check that a job server answers, with a timeout of seconds: Ray's own client retries for minutes."""
    if not address.startswith(("http://", "https://")):
        raise UserError(f"--address {address}: expected the URL of a job server, for example http://HEAD:8265")
    try:
        answer = httpx.get(f"{address}/api/version", timeout=10, headers=_headers())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(f"--address {address}: no Ray job server answers there: {one_line(error)}") from None
    if answer.status_code in {401, 403}:
        raise UserError(AUTH_HELP)
    if answer.status_code != 200 or "ray_version" not in answer.text:
        raise UserError(f"--address {address}: the server there is no Ray job server (status {answer.status_code})")


def _headers() -> dict[str, str]:
    """Return the header with the token, found as Ray's client finds it."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    if not token and path.is_file():
        token = path.read_text(encoding="utf-8").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}
