"""Claims: when several workers want to encode one media item at the same time, one of them does.

Media items are claimed, not units: decoding one video in two places would cost more than it saves.
An evaluation run needs no claims, since its driver hands out each media item once. They are for
precompute runs that know nothing of each other and work on the same store.

A claim is a hint that expires, not a lock. Its file says which process holds it, exists while that
process lives, and is touched by it. Whoever wants the media item takes the claim over as soon as
its holder is seen to be gone, which processes of the same host can see; otherwise once it has not
been touched for ``expires_s``. At worst (a holder suspended for longer than that) an item is
encoded twice, and the store keeps the first copy.
"""

import json
import logging
import math
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from encodeonce.cache_store.durable import explain, server_now_s
from encodeonce.cache_store.layout import StoreFolder
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.unit_table import unit_digest

logger = logging.getLogger(__name__)

_DEAD_STATES = ("Z", "X")
"""In ``/proc/PID/stat``: a process that ended and that its parent has not asked about yet."""
_MOST_PID = 2**22
"""Linux's largest pid; what is beyond was not written by us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that may hold claims; all but ``owner`` is empty or 0 where it is not known.

    A pid alone says little: containers have pids of their own, pids are used again, and other
    hosts have the same ones.
    """

    owner: str
    """Unique to each `Claims` object."""
    host: str = ""
    boot: str = ""
    """Linux's id of this boot: the same in all containers of a host, and nowhere else."""
    namespace: str = ""  # of pids
    pid: int = 0
    started: int = 0
    """Clock ticks from the boot to the start of the process."""

    @classmethod
    def me(cls, owner: str) -> Self:
        """Describe this process; without Linux's ``/proc`` only the host and the pid are known."""
        here, pid, found = socket.gethostname(), os.getpid(), _stat(os.getpid())
        if found is None:
            return cls(owner=owner, host=here, pid=pid)
        boot, namespace, started = _boot(), _namespace(), found[1]
        return cls(owner=owner, host=here, boot=boot, namespace=namespace, pid=pid, started=started)

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
        if not self.started or (self.boot, self.namespace) != (_boot(), _namespace()):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim as others find it."""

    holder: Holder
    silent_s: float
    """Seconds since its holder last touched it."""
    expires_s: float
    """Seconds of silence after which whoever asks takes it over."""

    @property
    def is_void(self) -> bool:
        """Whether it may be taken over."""
        return self.silent_s >= self.expires_s or self.holder.is_gone()

    @property
    def left_s(self) -> float:
        """Seconds until it is void, if its holder gives no other sign of life."""
        return 0.0 if self.is_void else self.expires_s - self.silent_s


class Claims:
    """The claims of one worker. Use it as a context manager: leaving it gives all claims back.

    Args:
        root: folder of the store.
        expires_s: seconds without a sign of life after which a claim is void.
    """

    def __init__(self, root: Path | str, expires_s: float = 60.0) -> None:
        self._folder = StoreFolder(Path(root))
        self._expires_s = expires_s
        self._owner = uuid.uuid4().hex
        self._held: set[Path] = set()
        self._asked_s = -math.inf
        self._ahead_s = 0.0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="claims", daemon=True)

    def __enter__(self) -> "Claims":
        """Start the sign of life."""
        self._heart.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give all claims back."""
        self._stop.set()
        self._heart.join()
        for path in tuple(self._held):
            self._release(path)

    def acquire(self, key: FeatureKey) -> bool:
        """Say whether the media item of ``key``, under its signature, is ours to encode.

        Look into the store again after this: the previous owner may have finished it.

        Raises:
            StoreError: claims cannot be written here.
        """
        path = self._path(key)
        try:
            is_ours = self._create(path) or self._take_over(path)
        except OSError as error:
            raise explain(error, "claiming", path) from error
        if is_ours:
            with self._lock:
                self._held.add(path)
        return is_ours

    def others(self, key: FeatureKey) -> Claim | None:
        """Return the claim that stands in the way of `acquire`; None if there is none any more."""
        try:
            return self._read(self._path(key))
        except OSError:
            return None

    def release(self, key: FeatureKey) -> None:
        """Give the claim back, when the units are in the store or will not be encoded."""
        self._release(self._path(key))

    def _release(self, path: Path) -> None:
        with self._lock:
            was_held = path in self._held
            self._held.discard(path)
        if was_held:
            path.unlink(missing_ok=True)

    def _path(self, key: FeatureKey) -> Path:
        name = unit_digest(key.media, "").hex()
        return self._folder.namespace(key.signature).claims / name[:2] / name

    def _create(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            return self._create(path)
        except FileExistsError:
            return False
        try:
            os.write(descriptor, Holder.me(self._owner).text().encode())
        except OSError:
            path.unlink(missing_ok=True)  # nobody's: others would wait for it to expire
            raise
        finally:
            os.close(descriptor)
        return True

    def _take_over(self, path: Path) -> bool:
        """Take the claim of a dead holder. Of several that try, `rename` lets one move it away."""
        grave = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        try:
            found = self._read(path)
            if not found.is_void:
                return False
            path.rename(grave)
            if (
                Holder.parse(grave.read_text(errors="replace")) != found.holder
            ):  # an heir was faster: give it back
                os.link(grave, path)
                grave.unlink()
                return False
        except FileNotFoundError:  # given back or taken over this moment
            return self._create(path)
        except FileExistsError:
            grave.unlink(missing_ok=True)
            return False
        logger.info(
            "taking over the claim %s of %s, silent for %.0f s",
            *(path.name, found.holder, found.silent_s),
        )
        grave.unlink(missing_ok=True)
        return self._create(path)

    def _read(self, path: Path) -> Claim:
        holder = Holder.parse(path.read_text(errors="replace"))
        silent_s = self._server_now_s(path.parent) - path.stat().st_mtime
        return Claim(holder=holder, silent_s=silent_s, expires_s=self._expires_s)

    def _server_now_s(self, folder: Path) -> float:
        """Return the file server's time, which is asked for seldom."""
        now_s = time.monotonic()
        if now_s - self._asked_s > self._expires_s:
            self._asked_s, self._ahead_s = now_s, server_now_s(folder) - now_s
        return now_s + self._ahead_s

    def _beat(self) -> None:
        while not self._stop.wait(self._expires_s / 4):
            started_s = time.monotonic()
            with self._lock:
                paths = list(self._held)
            for path in paths:
                try:
                    os.utime(path)
                except OSError as error:
                    logger.warning("claim %s cannot be kept alive: %s", path.name, error)
            if time.monotonic() - started_s > self._expires_s / 4:
                logger.warning("keeping %d claims alive takes too long", len(paths))


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
    try:
        # Containers may see their host's /proc, which counts pids in another way.
        is_ours = str(Path("/proc/self").readlink()) == str(os.getpid())
    except OSError:
        return None
    # The name of the program, in parentheses, may hold spaces and parentheses.
    fields = _line(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (fields[0], int(fields[19])) if is_ours and len(fields) > 19 else None


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
