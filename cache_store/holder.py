"""Who holds a claim: a process, described so that others on its host can tell that it is gone.

A process id alone says little: containers have process ids of their own, ids are used again, and
another host has the same ones. So a holder is known by the boot of its kernel, its pid namespace,
its pid and the time its process started.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Self

_DEAD_STATES = ("Z", "X")
"""In ``/proc/PID/stat``: a process that ended and that its parent has not asked about yet."""
_MOST_PID = 2**22
"""Linux's largest pid; what is beyond was not written by us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that may hold claims; all but ``owner`` is empty or 0 where it is not known."""

    owner: str
    """Unique to each `Claims` object."""
    host: str = ""
    boot: str = ""
    """Linux's id of this boot: the same in all containers of a host, and nowhere else."""
    namespace: str = ""
    """Of pids."""
    pid: int = 0
    started: int = 0
    """Clock ticks from the boot to the start of the process."""

    @classmethod
    def me(cls, owner: str) -> Self:
        """Describe this process; without Linux's ``/proc`` only the host and the pid are known."""
        pid = os.getpid()
        found = _stat(pid)
        return cls(
            owner=owner,
            host=socket.gethostname(),
            boot=_boot() if found else "",
            namespace=_namespace() if found else "",
            pid=pid,
            started=found[1] if found else 0,
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` returned; earlier versions wrote the owner alone."""
        try:
            found = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError):
            return cls(owner=text.strip())
        kinds = (str, str, str, str, int, int)
        is_sound = all(map(isinstance, asdict(found).values(), kinds))
        return found if is_sound and 0 <= found.pid <= _MOST_PID else cls(owner=text.strip())

    def text(self) -> str:
        """Return this as one line."""
        return json.dumps(asdict(self))

    def is_gone(self) -> bool:
        """Say whether the process has certainly ended; False where that cannot be seen from here.

        It can be seen on the same host, in the same pid namespace, since the same boot.
        """
        if not (self.boot and self.namespace and self.pid and self.started):
            return False
        if (self.boot, self.namespace) != (_boot(), _namespace()):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # it is there, and another user's
            pass
        found = _stat(self.pid)
        # Hidden by the mount option `hidepid`, perhaps: only what is seen counts.
        return found is not None and (found[0] in _DEAD_STATES or found[1] != self.started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid else "a process of an older version"


@cache
def _boot() -> str:
    return _line(Path("/proc/sys/kernel/random/boot_id"))


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, int] | None:
    """Return a process's state and start time, if this ``/proc`` shows them."""
    if not _is_own_proc():
        return None
    # The name of the program, in parentheses, may hold spaces and parentheses.
    fields = _line(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (fields[0], int(fields[19])) if len(fields) > 19 else None


def _is_own_proc() -> bool:
    """Say whether ``/proc`` counts pids as this process does: containers may see their host's."""
    try:
        return str(Path("/proc/self").readlink()) == str(os.getpid())
    except OSError:
        return False


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
