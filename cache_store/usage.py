"""Note when packs were last used, where the gc of every host can see it.

Each pack has an empty file whose mtime the file server sets, so that hosts' clocks do not matter
(access times would not do: most mounts do not keep them).
"""

import logging
import time
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

USED_EVERY_S = 1800.0
"""A pack's last use is noted this often; gc's grace period is longer."""


class LastUse:
    """Notes the use of packs, seldom enough not to cost anything."""

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
