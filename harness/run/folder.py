"""A run's output folder: what was asked, what has been answered, and a lock for the writer."""

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from encodeonce.cache_store import durable
from encodeonce.cache_store.signature import canonical_json
from encodeonce.datasets.strict_json import parse_json
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.jsonl import JsonLinesWriter, read_lines
from encodeonce.harness.run.old_names import NAMES_IN_FINGERPRINTS, RENAMED
from encodeonce.harness.run.output_error import lock, writing
from encodeonce.harness.run.record import Record
from encodeonce.harness.run.record_reader import RecordReader
from encodeonce.harness.run.replaced import without_replaced
from encodeonce.harness.run.stored import description_of, outcome_of
from encodeonce.harness.run.variant import Meanings, changed_titles, joined

Answers = Literal["records", "uncached"]
"""``records``: answers from stored features; ``uncached``: plain transformers' answers."""

_LIBRARIES = ("encodeonce", "torch", "transformers")


LOGS = "logs"
"""Folder of the workers' logs in a run's folder."""


class RunFolderError(ValueError):
    """The output folder belongs to another run, or another process is writing to it."""


class RunFolder:
    """Files of one run. Use as a context manager, which holds a lock on it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(
        cls,
        config: RunConfig,
        *,
        checkpoint_sha256: str,
        samples_sha256: str,
        variants: Meanings,
    ) -> Self:
        """Make the folder of a run, or open it again.

        Args:
            config: the run.
            checkpoint_sha256: digest of the model's files.
            samples_sha256: digest of the questions.
            variants: the meanings of the run's variant titles. Those new to the folder are added
                to it.

        Raises:
            RunFolderError: the folder holds a run that would have given other answers, or another
                variant of the same name.
            OutputError: the folder cannot be made or written.
        """
        folder = cls(config.output)
        with writing(folder.path):
            folder.path.mkdir(parents=True, exist_ok=True)
        identity = {
            **config.answer_fields(),
            "checkpoint files": checkpoint_sha256,
            "questions": samples_sha256,
        }
        if folder._description.exists():
            found = folder.description()
            _require_same(folder, found["identity"], identity)
            _require_same_names(folder, found.get("variants", {}), variants)
            variants = joined(found.get("variants", {}), variants)
        fingerprint = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
        if not folder._description.exists():
            _require_own_answers(folder, fingerprint)
        content = {
            "fingerprint": fingerprint,
            "identity": identity,
            "variants": variants,
            "config": config.model_dump(mode="json"),
            "versions": {name: version(name) for name in _LIBRARIES},
        }
        text = json.dumps(content, indent=2) + "\n"
        with writing(folder._description):
            durable.replace(text.encode(), folder._description, folder.path)
        return folder

    @property
    def _description(self) -> Path:
        return self.path / "run.json"

    @property
    def fingerprint(self) -> str:
        """Digest of everything that can change an answer of this run."""
        return str(self.description()["fingerprint"])

    def description(self) -> dict[str, Any]:
        """Return run.json.

        Raises:
            RunFolderError: the file does not exist, or is damaged.
        """
        try:
            return description_of(parse_json(self._description.read_bytes()))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunFolderError(
                f"{self.path} is not the output folder of a run: it has no run.json"
            ) from error
        except OSError as error:
            raise RunFolderError(
                f"{self._description} cannot be read: {error.strerror or error}"
            ) from error
        except ValueError as error:
            raise RunFolderError(
                f"{self._description} is damaged: {error}. Type: rm "
                f"{shlex.quote(str(self._description))}, and repeat the command with the run file "
                "as it was: it writes run.json anew, and all answers are kept"
            ) from error

    def records(self, which: Answers, with_logits: bool = True) -> list[Record]:
        """Return one record per sample and variant: its answer, or else its last error.

        Records about media files that were replaced since, as later records of the same sample
        show, are left out.

        Args:
            which: file.
            with_logits: also return the logits of first tokens and the digests of all logits,
                more than half of what a record takes.
        """
        read = RecordReader(with_logits=with_logits)
        lines = read_lines(self.path / f"{which}.jsonl", read.slow, read.quick)
        return without_replaced(lines)

    def answered(self, which: Answers) -> set[tuple[str, str, str]]:
        """Return (benchmark, sample, variant) of each answer; errors do not count."""
        return {record.key for record in self.records(which) if record.error is None}

    def precompute_outcomes(self) -> list[dict[str, Any]]:
        """Return precompute's journal: one outcome per media file and attempt at the run."""
        return list(read_lines(self.path / "precompute.jsonl", outcome_of))

    def unusable_media(self) -> dict[str, str]:
        """Return why precompute's last attempt at a media file failed, by the file's path."""
        latest = {one["item"]: one["error"] for one in self.precompute_outcomes()}
        return {
            item: f"{error['type']}: {error['message']}"
            for item, error in latest.items()
            if error is not None
        }

    def writer(self, name: Answers | Literal["precompute"]) -> JsonLinesWriter:
        """Open a file of the folder for appending."""
        return JsonLinesWriter(self.path / f"{name}.jsonl")

    def __enter__(self) -> Self:
        self._lock = lock(self.path, RunFolderError)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.close()


def media_sha256(outcomes: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the digests of the media that precompute found usable."""
    return {str(one["value"]["media"]) for one in outcomes if one["status"] == "ok"}


def _require_same(folder: RunFolder, found: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    names = [_title(name) for name in identity if found.get(name) != identity[name]]
    if names:
        hint = ""
        if found.get(NAMES_IN_FINGERPRINTS["video_backend"]) == "auto" and "video_backend" in names:
            hint = " To go on with a run of when video_backend was auto by default, write it there."
        raise RunFolderError(
            f"output: {folder.path} holds another run, which differs in: {', '.join(names)}. "
            f"Choose another output folder, or delete this one to start again.{hint}"
        )


def _title(name: str) -> str:
    # Subtitles that stand in prompts are files of their own: nobody else would look there.
    titles = {**RENAMED, "questions": "questions (texts, options, media paths, or subtitles)"}
    return titles.get(name, name)


def _require_own_answers(folder: RunFolder, fingerprint: str) -> None:
    """Refuse a folder that lost its run.json, if its answers are another run's."""
    for which in get_args(Answers):
        if any(record.run != fingerprint for record in folder.records(which)):
            raise RunFolderError(
                f"output: {folder.path} holds answers of another run in {which}.jsonl, and no "
                "run.json that says which. Choose another output folder, or delete this one to "
                "start again."
            )


def _require_same_names(folder: RunFolder, found: Meanings, variants: Meanings) -> None:
    if titles := changed_titles(found, variants):
        raise RunFolderError(
            f"output: {folder.path} has another variant named {titles[0]!r} (see its run.json). "
            "Give the new one another 'label', or choose another output folder."
        )
