"""Machines in a network, each a network namespace of this one: a bridge, and a cable to each.

A machine has an address, a host name, a hosts file and a /tmp of its own. It shares other files,
and one folder in /tmp, with the others, as nodes of a cluster share a file system.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

_BECOME = """
set -e
hostname "$0"
mount --bind "$1" /etc/hosts
mkdir -p "$2/$4"
mount --bind "$3" "$2/$4"
mount --rbind "$2" /tmp
cd "$3"
shift 4
exec "$@"
"""
"""With its name, the hosts file, its /tmp, the shared folder, and where in /tmp that is."""


def why_not() -> str:
    """Return why there can be no such network here; empty if there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces are made by root; this user is not"
    missing = [name for name in ("ip", "nsenter", "unshare") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} missing: apt-get install iproute2 util-linux"
    try:
        with tempfile.TemporaryDirectory() as folder:
            network = Network(["probe"], Path(folder))
            try:
                tried = network.machines[0].start("true", env=os.environ, stderr=subprocess.PIPE)
                _, said = tried.communicate(timeout=60)
            finally:
                network.close()
    except NetworkError as error:
        return f"this machine refuses it: {error}"
    return f"this machine refuses it: {said.decode().strip()}" if tried.returncode else ""


class NetworkError(RuntimeError):
    """`ip` failed; the message is its own."""


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise NetworkError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine of a network."""

    name: str
    """Its host name."""
    address: str
    namespace: str
    cable: str
    """The end of its cable at the bridge."""
    folder: Path
    """Of its own: what it sees as /tmp."""
    hosts: Path
    """What it sees as /etc/hosts."""
    shared: Path
    """What it sees as all do."""
    started: "list[subprocess.Popen[Any]]" = field(default_factory=list)

    def start(
        self, *command: str, env: Mapping[str, str], log: IO[bytes] | None = None, **how: Any
    ) -> "subprocess.Popen[Any]":
        """Start a command on it, in a session of its own."""
        # Not `ip netns exec`: the /sys that it mounts hides the control groups, which SLURM reads.
        inside = ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "--uts", "--mount"]
        where = self.shared.relative_to("/tmp")
        of_its_own = [self.name, self.hosts, self.folder, self.shared, where]
        named = ["sh", "-c", _BECOME, *map(str, of_its_own)]
        into = {"stdout": log, "stderr": subprocess.STDOUT} if log else {}
        process = subprocess.Popen(
            [*inside, *named, *command],
            env=dict(env),
            start_new_session=True,
            **into,
            **how,
        )
        self.started.append(process)
        return process

    def pids(self) -> list[int]:
        """Return the processes on it."""
        return [int(pid) for pid in _ip("netns", "pids", self.namespace).split()]

    def pull_the_plug(self) -> None:
        """SIGKILL everything on it."""
        for _ in range(3):  # what was being started meanwhile
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def cut_off(self) -> None:
        """Pull its cable: what is sent to it or by it is lost, and nobody is told."""
        _ip("link", "set", self.cable, "down")

    def plug_in(self) -> None:
        """Undo `cut_off`."""
        _ip("link", "set", self.cable, "up")


class Network:
    """Some machines, and this one as another at `address`. Names are of this process."""

    def __init__(self, names: Sequence[str], shared: Path) -> None:
        """Build it.

        Args:
            names: host names of the machines.
            shared: a folder below /tmp, which all of them see.

        Raises:
            NetworkError: the kernel or its rights do not allow it; nothing is left of it.
        """
        self._prefix = f"ee{os.getpid()}"
        self._subnet = f"10.83.{os.getpid() % 250}"
        self._bridge = f"{self._prefix}br"
        self._folder = Path(tempfile.mkdtemp(prefix=self._prefix, dir=shared))
        self.address = f"{self._subnet}.254"
        self.machines: list[Machine] = [
            Machine(
                name=name,
                address=f"{self._subnet}.{number}",
                namespace=f"{self._prefix}-{name}",
                cable=f"{self._prefix}v{number}",
                folder=self._folder / name,
                hosts=self._folder / "hosts",
                shared=shared,
            )
            for number, name in enumerate(names, 1)
        ]
        try:
            self._build()
        except NetworkError:
            self.close()
            raise

    def _build(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self.address}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        lines = [f"{one.address} {one.name}" for one in self.machines]
        hosts = "\n".join(["127.0.0.1 localhost", *lines, ""])
        (self._folder / "hosts").write_text(hosts, encoding="utf-8")
        for one in self.machines:
            _ip("netns", "add", one.namespace)
            peer = ("peer", "name", "eth0", "netns", one.namespace)
            _ip("link", "add", one.cable, "type", "veth", *peer)
            _ip("link", "set", one.cable, "master", self._bridge, "up")
            inside = ("-n", one.namespace)
            _ip(*inside, "address", "add", f"{one.address}/24", "dev", "eth0")
            _ip(*inside, "link", "set", "lo", "up")
            _ip(*inside, "link", "set", "eth0", "up")

    def close(self) -> None:
        """Kill what runs on its machines, and remove it; what is not there is passed over."""
        there = _ip("netns", "list").split()
        for one in self.machines:
            if one.namespace in there:
                one.pull_the_plug()
                for process in one.started:
                    process.wait()
                    for pipe in (process.stdout, process.stderr):
                        if pipe is not None:  # whose test failed before it was read
                            pipe.close()
                _ip("netns", "delete", one.namespace)
            # A cable goes with its end in the namespace, once the last process there is gone.
            subprocess.run(["ip", "link", "delete", one.cable], capture_output=True)
        subprocess.run(["ip", "link", "delete", self._bridge], capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)
