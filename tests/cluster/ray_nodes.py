"""A Ray cluster of several machines: one `ray start` on each."""

import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cluster.network import Machine
from tests.cluster.scene import environment, wait_for

_PORT = 6390
_MEMORY_BYTES = 100_000_000
_QUICKLY = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
}
"""Ray gives a silent node up a little sooner than usual."""

RAY = (sys.executable, "-m", "ray.scripts.scripts")


class RayNodes:
    """Machines that run, or ran, Ray. The first one started is the head."""

    def __init__(self, folder: Path, *, cpus: int = 1) -> None:
        """Start nothing yet.

        Args:
            folder: where what Ray prints goes.
            cpus: of each node, as Ray is told.
        """
        self._folder = folder
        self._cpus = cpus
        self._head: Machine | None = None
        # Ray's default: a token, which `ray start` makes in the home folder. Here the test's own.
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.env = environment(**_QUICKLY, **token)

    @property
    def address(self) -> str:
        assert self._head is not None
        return f"{self._head.address}:{_PORT}"

    def start(self, machine: Machine) -> None:
        """Start Ray on a machine; but for the head's, again whenever it ends, as for SLURM."""
        is_head = self._head is None
        if is_head:
            self._head = machine
        which = ["--head", f"--port={_PORT}", "--include-dashboard=false"]
        ray = [
            *(*RAY, "start", "--block", f"--node-ip-address={machine.address}"),
            *(which if is_head else [f"--address={self.address}"]),
            *(f"--num-cpus={self._cpus}", "--num-gpus=0"),
            f"--object-store-memory={_MEMORY_BYTES}",
        ]
        loop = [] if is_head else ["sh", "-c", 'while :; do "$@"; sleep 1; done', "sh"]
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{machine.name}.log").open("ab") as log:
            machine.start(*loop, *ray, env=self.env, log=log)
        if is_head:
            wait_for(lambda: self._answers(machine), every_s=1)

    def drive(self, *command: str, **how: Any) -> "subprocess.Popen[Any]":
        """Start a command on the head's machine."""
        assert self._head is not None
        return self._head.start(*command, env=self.env | {"RAY_ADDRESS": self.address}, **how)

    def _answers(self, machine: Machine) -> bool:
        return self._status(machine).returncode == 0

    def num_active(self) -> int:
        """Return how many nodes the head thinks alive."""
        assert self._head is not None
        return self._status(self._head).stdout.count(" node_")

    def _status(self, machine: Machine) -> "subprocess.CompletedProcess[str]":
        asked = machine.start(
            *(*RAY, "status", "--address", self.address),
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        out, _ = asked.communicate(timeout=60)
        return subprocess.CompletedProcess(asked.args, asked.returncode, out)
