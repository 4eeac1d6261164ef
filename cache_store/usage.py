"""When packs were last used, written where every host's gc can see it.

An empty file for each pack; its mtime is set by the file server, so hosts' clocks do not matter
(access times would not do: most mounts do not keep them).
"""

import logging
import time
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

USED_EVERY_S = 1800.0
"""A pack's last use is written down this often; gc's grace period is longer."""


class LastUse:
    """Writes down the use of packs, seldom enough not to be felt."""

    def __init__(self) -> None:
        self._written_s: dict[Path, float] = {}

    def mark(self, paths: Iterable[Path]) -> None:
        """Note that packs are in use, given their `Namespace.used` paths, where that is allowed."""
        now_s = time.monotonic()
        for path in paths:
            if now_s - self._written_s.get(path, -USED_EVERY_S) < USED_EVERY_S:
                continue
            self._written_s[path] = now_s
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            except OSError as error:
                logger.debug("last use not written: %s", error)
