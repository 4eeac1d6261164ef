"""A log file for each worker in the run's folder, and a list that says who wrote which."""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from encodeonce.harness.report.visible import VisibleFormatter

logger = logging.getLogger(__name__)

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_OURS = "encodeonce"
_LIST = "workers.jsonl"


class WorkerLog:
    """Writes what this process logs to a file of its own: our messages from INFO on, and warnings.

    Where the file cannot be written, that is a warning, and the work goes on.
    """

    def __init__(self, folder: Path | None, worker: str) -> None:
        """Begin the file.

        Args:
            folder: the run's `logs`; None for no file.
            worker: the worker's name, unique in the run.
        """
        self.name = ""
        """Of the file; empty if there is none."""
        self._handler: logging.FileHandler | None = None
        self._level = logging.getLogger(_OURS).level
        if folder is None:
            return
        name = re.sub(r"[^\w.-]", "-", worker) + ".log"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handler = logging.FileHandler(folder / name, encoding="utf-8")
        except OSError as error:
            logger.warning("no log of this worker in %s: %s", folder, error)
            return
        self.name = name
        self._handler.setFormatter(VisibleFormatter(_FORMAT))
        logging.getLogger().addHandler(self._handler)
        logging.getLogger(_OURS).setLevel(logging.INFO)

    def close(self) -> None:
        """End the file."""
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            self._handler.close()
            logging.getLogger(_OURS).setLevel(self._level)


def list_worker(folder: Path | None, worker: Mapping[str, object]) -> None:
    """Append a line about a worker to the list beside the logs."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _LIST).open("a", encoding="utf-8") as file:
            file.write(json.dumps(worker) + "\n")
    except OSError as error:
        logger.warning("%s cannot be written: %s", folder / _LIST, error)
