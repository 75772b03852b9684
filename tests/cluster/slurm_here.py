"""SLURM on this machine for a test's time: munged, slurmctld and slurmd of our own, ended by their process numbers."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo", "scancel")
_PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
_SECONDS = 120.0

# Memory and processors are declared, not measured: jobs of 6 GB must start on a small machine. cred_expire is also how
# long a job that was queued again must wait; below 5 SLURM takes its default of two minutes.
_CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
MpiDefault=none
MailProg={true}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=3
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=32000 State=UNKNOWN
PartitionName=long Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF
"""


class CannotStart(Exception):
    """SLURM is not installed, or does not start here; says which and why."""


def program(name: str) -> str:
    """Where a program is; daemons are often off users' search path."""
    found = shutil.which(name, path=_PLACES)
    if found is None:
        raise CannotStart(f"{name} is not installed (Debian: slurmctld slurmd slurm-client munge)")
    return found


class SlurmHere:
    """A cluster of one machine that four processors and 32 GB are declared for.

    Partition ``urgent`` preempts ``long``, whose jobs are then queued again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.configuration = folder, folder / "slurm.conf"
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the daemons, and see a job run.

        Raises
        ------
        CannotStart
            With the last lines of the daemon's log.
        """
        programs = {name: program(name) for name in PROGRAMS}
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        controller, daemon = _free_ports(2)
        self.configuration.write_text(
            _CONFIGURATION.format(
                folder=self.folder, user=getpass.getuser(), host=socket.gethostname().split(".")[0],
                controller=controller, daemon=daemon, true=program("true"),
            )
        )  # fmt: skip
        own = [f"--{name}={self.folder}/munge.{end}" for name, end in (
            ("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed")
        )]  # fmt: skip
        self._start([programs["munged"], "--foreground", "--force", *own])
        self._until("munged", lambda: (self.folder / "munge.socket").exists())
        self._start([programs["slurmctld"], "-D", "-i"])
        self._until("slurmctld", lambda: self._said("scontrol", "ping").startswith("Slurmctld(primary)"))
        self._start([programs["slurmd"], "-D"])
        self._until("slurmd", lambda: self._said("sinfo", "--noheader", "--format=%t").startswith("idle"))
        self.run("srun", "--mem=1", "true", timeout=_SECONDS)

    def stop(self) -> None:
        """End all jobs and the daemons."""
        if len(self._daemons) == 3:
            self.run("scancel", "--user", getpass.getuser(), check=False)
            self._until("the last job", lambda: not self._said("squeue", "--noheader"))
        for one in reversed(self._daemons):
            one.terminate()
        for one in reversed(self._daemons):
            try:
                one.wait(30)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What its commands and jobs need, nothing of a job that we ourselves may run in."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SRUN"))}
        return {**kept, "SLURM_CONF": str(self.configuration), "PATH": _PLACES, "LOGNAME": getpass.getuser()}

    def run(
        self, *command: str | Path, check: bool = True, timeout: float | None = 900, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of SLURM, in the cluster's folder."""
        done = subprocess.run(
            list(map(str, command)), cwd=self.folder, env=self.environment | environment,
            capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}")
        return done

    def submit(self, *words: str | Path, **environment: str) -> str:
        """Number of a job that ``sbatch`` is given."""
        return self.run("sbatch", "--parsable", *words, **environment).stdout.strip()

    def wait(self, job: str) -> dict[str, list[str]]:
        """Wait until a job, or all tasks of an array, has ended; what SLURM says of each then.

        A job that depends on it is started by SLURM itself: nothing here looks at a clock.
        """
        self.run("srun", "--quiet", "--partition=urgent", "--mem=1", f"--dependency=afterany:{job}", "true")
        words = self.run("scontrol", "--oneliner", "show", "job", job).stdout.split()
        said: dict[str, list[str]] = {}
        for name, _, value in (word.partition("=") for word in words):
            said.setdefault(name, []).append(value)
        return said

    def logs(self) -> str:
        """Last lines of the daemons."""
        tails = (path.read_text(errors="replace").splitlines()[-12:] for path in sorted(self.folder.glob("*.out")))
        return "\n".join(line for tail in tails for line in tail)

    def _start(self, command: list[str]) -> None:
        with (self.folder / f"{Path(command[0]).name}.out").open("wb") as log:
            self._daemons.append(
                subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
            )

    def _said(self, *command: str) -> str:
        return self.run(*command, check=False).stdout.strip()

    def _until(self, what: str, ready: Callable[[], bool]) -> None:
        """Wait for a daemon of its own; nothing tells us but asking."""
        end = time.monotonic() + _SECONDS
        while not ready():
            gone = any(one.poll() is not None for one in self._daemons)
            if gone or time.monotonic() > end:
                raise CannotStart(f"{what} does not start:\n{self.logs()}")
            time.sleep(0.1)


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
