"""A run's output folder: what was asked, what is answered so far, and who writes there now."""

import fcntl
import json
import logging
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from encodeonce.harness.config import RunConfig
from encodeonce.harness.jsonl import JsonLinesWriter, read_json_lines
from encodeonce.harness.record import Record
from encodeonce.harness.summary import (
    Summary,
    compare_answers,
    summarize_evaluation,
    summarize_precompute,
)

logger = logging.getLogger(__name__)

Answers = Literal["records", "uncached"]
"""``records``: answers from stored features; ``uncached``: plain transformers' answers."""

_LIBRARIES = ("encodeonce", "torch", "transformers")


class RunFolderError(ValueError):
    """The output folder belongs to another run, or another process is writing there."""


class RunFolder:
    """Files of one run. Use as a context manager: it is locked in between.

    The lock is the operating system's, so that a killed driver leaves none behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, config: RunConfig, checkpoint_sha256: str) -> Self:
        """Make the folder of a run, or find it again.

        Raises:
            RunFolderError: the folder holds a run with another configuration.
        """
        folder = cls(config.output)
        folder.path.mkdir(parents=True, exist_ok=True)
        fingerprint = config.fingerprint(checkpoint_sha256)
        found = folder.description() if folder._description.exists() else None
        if found is not None and found["fingerprint"] != fingerprint:
            raise RunFolderError(
                f"output: {folder.path} holds another run. {_difference(found, config)} "
                "Choose another output folder, or delete this one to start again."
            )
        content = {
            "fingerprint": fingerprint,
            "checkpoint_sha256": checkpoint_sha256,
            "config": config.model_dump(mode="json"),
            "answer_fields": config.answer_fields(),
            "versions": {name: version(name) for name in _LIBRARIES},
        }
        temporary = folder._description.with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        temporary.replace(folder._description)
        return folder

    @property
    def _description(self) -> Path:
        return self.path / "run.json"

    @property
    def fingerprint(self) -> str:
        """Digest of what can change an answer of this run."""
        return str(self.description()["fingerprint"])

    def description(self) -> dict[str, Any]:
        """Return run.json.

        Raises:
            RunFolderError: there is none.
        """
        try:
            content: dict[str, Any] = json.loads(self._description.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunFolderError(
                f"{self.path} is not the output folder of a run: it has no run.json"
            ) from error
        return content

    def records(self, which: Answers) -> list[Record]:
        """Return one record a sample and variant: its answer, or the last error if it has none."""
        latest: dict[tuple[str, str, str], Record] = {}
        for content in read_json_lines(self.path / f"{which}.jsonl"):
            record = Record.from_dict(content)
            known = latest.get(record.key)
            if known is None or known.error is not None:
                latest[record.key] = record
        return list(latest.values())

    def answered(self, which: Answers) -> set[tuple[str, str]]:
        """Return the (benchmark, sample) pairs that have an answer; an error is none."""
        return {
            (record.benchmark, record.sample)
            for record in self.records(which)
            if record.error is None
        }

    def writer(self, name: Answers | Literal["precompute"]) -> JsonLinesWriter:
        """Open a file of the folder for appending."""
        return JsonLinesWriter(self.path / f"{name}.jsonl")

    def summary(self) -> Summary:
        """Return what the run has come to so far."""
        records, uncached = self.records("records"), self.records("uncached")
        precompute = list(read_json_lines(self.path / "precompute.jsonl"))
        return {
            "run": self.description(),
            "precompute": summarize_precompute(precompute) if precompute else None,
            "evaluation": summarize_evaluation(records) if records else None,
            "uncached": summarize_evaluation(uncached) if uncached else None,
            "comparison": compare_answers(records, uncached) if uncached else None,
        }

    def __enter__(self) -> Self:
        self._lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise RunFolderError(
                f"output: another encodeonce process is writing to {self.path}; wait for it, or "
                "choose another output folder"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.close()


def _difference(found: Mapping[str, Any], config: RunConfig) -> str:
    """Name the parts of the configuration that differ."""
    now = config.answer_fields()
    then = found["answer_fields"]
    names = [name for name in now if then.get(name) != now[name]]
    if not names:
        return "The checkpoint's files have changed since."
    return f"It differs in: {', '.join(names)}."
