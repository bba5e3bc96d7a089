"""A real Slurm of two nodes on this machine: its controller and two node daemons, no system service touched."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol")

# The plugins that need neither root's cgroups nor a munge service.
_CONFIG = """\
ClusterName=xlharm-test
SlurmctldHost={host}
SlurmctldPort={control}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=1,sched_interval=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ReturnToService=2
KillWait=10
PrologFlags=NoHold
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 State=UNKNOWN
PartitionName=test Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A running Slurm; ``env`` makes its commands talk to it."""

    folder: Path
    env: dict[str, str]

    def call(self, *command: str) -> str:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says, by field."""
        line = self.call("scontrol", "--oneliner", "show", "job", number)
        return dict(part.split("=", 1) for part in line.split() if "=" in part)


@contextlib.contextmanager
def running(folder: Path, env: dict[str, str]) -> Iterator[Slurm]:
    """Start the daemons and end exactly those afterwards."""
    (folder / "state").mkdir(parents=True)
    control, first, second = (_free_port() for _ in range(3))
    user = pwd.getpwuid(os.getuid()).pw_name
    text = _CONFIG.format(
        host=socket.gethostname(), control=control, first=first, second=second, user=user, folder=folder
    )
    (folder / "slurm.conf").write_text(text)
    slurm = Slurm(folder, {**env, "SLURM_CONF": str(folder / "slurm.conf")})
    daemons = [_start(slurm, "slurmctld", "-D")]
    try:
        daemons += [_start(slurm, "slurmd", "-D", "-N", name) for name in ("n1", "n2")]
        deadline = time.monotonic() + 60
        while slurm.call("sinfo", "-h", "-N", "-o", "%T").split() != ["idle", "idle"]:
            assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()[-3000:]
            time.sleep(0.5)
        yield slurm
    finally:
        subprocess.run(["scancel", "--quiet", "--full", f"--user={user}"], env=slurm.env, check=False, timeout=60)
        time.sleep(2)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=20)
            daemon.kill()


def missing() -> list[str]:
    """The programs of Slurm that are not installed."""
    return [name for name in NEEDED if shutil.which(name) is None]


def _start(slurm: Slurm, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=slurm.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
