"""A SLURM cluster of some machines, from Debian's packages, beside any that runs here."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.network import Network
from tests.cluster.scene import environment, wait_for

_PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "squeue")
_CPUS = 2
GRACE_S = 60
"""How long a job that must make way may take over it."""

_CONFIGURATION = """\
ClusterName=encodeonce
SlurmctldHost={host}({address})
SlurmUser=root
SlurmctldPort={port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
MinJobAge=3600
KillWait=30
ReturnToService=2
MpiDefault=none
{nodes}
PartitionName=common Nodes=ALL Default=YES PriorityTier=1 GraceTime={grace_s} OverTimeLimit=0
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str:
    """Return why there can be no SLURM here; empty if there can."""
    paths = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=paths) is None]
    if missing:
        return (
            f"{', '.join(missing)} missing: apt-get install --no-install-recommends "
            "slurmctld slurmd slurm-client munge"
        )
    return ""


class Slurm:
    """A controller on this machine and a `slurmd` on each of a network's machines."""

    def __init__(self, network: Network, folder: Path) -> None:
        """Start nothing yet.

        Args:
            network: the nodes.
            folder: that all nodes see; with a short name, since sockets lie in it.
        """
        self._network = network
        self.folder = folder
        self._started: list[subprocess.Popen[Any]] = []
        self._programs = self._write_programs()
        self.env = environment(SLURM_CONF=str(self.folder / "slurm.conf"))
        self.env["PATH"] = f"{self._programs}:{self.env['PATH']}:/usr/sbin"

    def start(self) -> None:
        """Start the daemons, and wait until all nodes are idle."""
        self._configure()
        self._munge()
        self._daemon("slurmctld", "-D", "-c")
        for machine in self._network.machines:
            machine.start("slurmd", "-D", "-N", machine.name, env=self.env)
        names = len(self._network.machines)
        wait_for(lambda: self.states() == ["idle"] * names, seconds=40)

    def states(self) -> list[str]:
        """Return each node's state."""
        return self.tell("sinfo", "-hN", "-p", "common", "-o", "%t").split()

    def _write_programs(self) -> Path:
        """Write what a job finds on its path: this environment's `encodeonce` and `ray`."""
        folder = self.folder / "bin"
        folder.mkdir()
        for name, module in (
            ("encodeonce", "encodeonce.jobs.cli.main"),
            ("ray", "ray.scripts.scripts"),
        ):
            path = folder / name
            path.write_text(
                f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n', encoding="utf-8"
            )
            path.chmod(0o755)
        return folder

    def _configure(self) -> None:
        port = 20000 + os.getpid() % 10000
        nodes = [
            f"NodeName={one.name} NodeHostname={one.name} NodeAddr={one.address} CPUs={_CPUS} "
            "RealMemory=4000 State=UNKNOWN"
            for one in self._network.machines
        ]
        text = _CONFIGURATION.format(
            host=os.uname().nodename,
            address=self._network.address,
            folder=self.folder,
            port=port,
            node_port=port + 1,
            nodes="\n".join(nodes),
            grace_s=GRACE_S,
        )
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")
        for name in ("state", *(f"spool-{one.name}" for one in self._network.machines)):
            (self.folder / name).mkdir()

    def _munge(self) -> None:
        key = self.folder / "munge.key"
        subprocess.run(["mungekey", "--create", f"--keyfile={key}"], env=self.env, check=True)
        files = ("socket", "pid", "log", "seed")
        options = [f"--{name}-file={self.folder}/munge.{name}" for name in files[1:]]
        socket = self.folder / "munge.socket"
        self._daemon(
            *("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={socket}"),
            *options,
        )
        wait_for(socket.exists)

    def _daemon(self, *command: str) -> None:
        log = (self.folder / f"{command[0]}.out").open("wb")
        process = subprocess.Popen(
            command, env=self.env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        log.close()
        self._started.append(process)

    def tell(self, *command: str) -> str:
        """Run one of SLURM's commands and return what it prints."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def submit(self, *arguments: str) -> str:
        """Submit a batch script, and return the job's number."""
        return self.tell("sbatch", "--parsable", *arguments)

    def job(self, number: str) -> Mapping[str, str]:
        """Return what SLURM says about a job."""
        text = self.tell("scontrol", "show", "job", number)
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def wait(self, number: str, *states: str, seconds: float = 300) -> None:
        """Wait until a job is in one of some states."""
        wait_for(lambda: self.job(number)["JobState"] in states, seconds=seconds, every_s=0.5)

    def close(self) -> None:
        """End it; the network's machines are ended by others."""
        for process in reversed(self._started):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._started):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
