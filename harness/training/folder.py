"""A training's folder: what was asked, its checkpoints, and what came of it.

Everything is either whole or absent, whenever the process is killed. Nothing is pickled.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import torch
from safetensors.torch import load_file, save

from encodeonce.cache_store import durable
from encodeonce.datasets.strict_json import JsonError, parse_json
from encodeonce.harness.run.output_error import lock, writing
from encodeonce.harness.training.subject import Subject

CHECKPOINTS = "checkpoints"
_ASKED = "train.json"
_PROGRESS = "progress.jsonl"
_OPTIMIZER = "optimizer.safetensors"
_STATE = "state.json"
_UNFINISHED = ".unfinished"


class TrainingFolderError(ValueError):
    """The folder belongs to another training, or another process trains there, or it is damaged."""


@dataclass(slots=True, kw_only=True)
class State:
    """How far a training is."""

    step: int = 0
    rate_factor: float = 1.0
    """Of the learning rate, under schedule "plateau"."""
    since_best: int = 0
    """Validations without gain."""
    best_step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry for each validation."""

    def best(self) -> dict[str, Any]:
        """Return the entry of the best validation."""
        return next(entry for entry in self.history if entry["step"] == self.best_step)


class TrainingFolder:
    """The output of a training. Use as a context manager, which lets go of the folder's lock."""

    def __init__(self, path: Path) -> None:
        """Name a folder."""
        self.path = path
        self._lock: TextIO | None = None

    def __enter__(self) -> Self:
        """Return the folder; it is locked once it is created."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            self._lock.close()

    def create(self, asked: Mapping[str, Any]) -> None:
        """Make the folder, or open it again, and lock it.

        Args:
            asked: everything that decides what a step does.

        Raises:
            TrainingFolderError: the folder holds a training that was asked for otherwise, or
                another process trains there.
            OutputError: it cannot be written.
        """
        file = self.path / _ASKED
        with writing(file):
            (self.path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        self._lock = lock(self.path, TrainingFolderError)
        if file.exists():
            found = parsed(file, "Choose another output folder, or delete this one")
            other = sorted(_differing(found, dict(asked)))
            if other:
                raise TrainingFolderError(
                    f"output: {self.path} holds another training, which differs in: "
                    f"{', '.join(other)}. Choose another output folder, or delete this one"
                )
            return
        with writing(file):
            durable.replace((json.dumps(asked, indent=2) + "\n").encode(), file, self.path)

    def state(self) -> State:
        """Return the state at the last whole checkpoint, or that of the beginning.

        Raises:
            TrainingFolderError: the checkpoint is damaged.
        """
        steps = self._steps()
        if not steps:
            return State()
        folder = self._step(steps[-1])
        remedy = f"Delete {folder}: training goes on from the checkpoint before it"
        return State(**parsed(folder / _STATE, remedy))

    def load(self, step: int, subject: Subject, optimizer: torch.optim.Optimizer) -> None:
        """Read a checkpoint's weights and the optimiser's moments."""
        folder = self._step(step)
        subject.read(folder)
        moments = load_file(folder / _OPTIMIZER)
        names = [name for name, _ in subject.module.named_parameters()]
        state = optimizer.state_dict()
        state["state"] = {
            number: {
                key.rpartition("/")[2]: value
                for key, value in moments.items()
                if key.rpartition("/")[0] == name
            }
            for number, name in enumerate(names)
        }
        optimizer.load_state_dict(state)

    def begin(self, subject: Subject, optimizer: torch.optim.Optimizer) -> Path:
        """Write a checkpoint that does not count yet; return its folder."""
        folder = self.path / CHECKPOINTS / _UNFINISHED
        with writing(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            subject.write(folder)
            moments = {
                f"{name}/{key}": value
                for name, parameter in subject.module.named_parameters()
                for key, value in optimizer.state[parameter].items()
            }
            durable.write_new(folder / _OPTIMIZER, save(moments))
        return folder

    def finish(self, state: State) -> None:
        """Let the checkpoint that was begun count; the last and the best are kept."""
        unfinished = self.path / CHECKPOINTS / _UNFINISHED
        lines = "".join(json.dumps(entry) + "\n" for entry in state.history)
        with writing(unfinished):
            (unfinished / _STATE).write_text(json.dumps(asdict(state), indent=2) + "\n")
            unfinished.rename(self._step(state.step))
            durable.sync_folder(self.path / CHECKPOINTS)
            durable.replace(lines.encode(), self.path / _PROGRESS, self.path)
            for step in self._steps():
                if step not in (state.step, state.best_step):
                    shutil.rmtree(self._step(step))

    def publish(self, step: int, copied: Iterable[str], written: Mapping[str, bytes]) -> None:
        """Put what was trained into the folder itself.

        Args:
            step: of the checkpoint that is published.
            copied: names of its files.
            written: other files, by their names; they come after those.
        """
        with writing(self.path):
            files = {name: (self._step(step) / name).read_bytes() for name in copied}
            for name, content in {**files, **written}.items():
                durable.replace(content, self.path / name, self.path)

    def _step(self, number: int) -> Path:
        return self.path / CHECKPOINTS / f"step-{number:07}"

    def _steps(self) -> list[int]:
        folders = (self.path / CHECKPOINTS).glob("step-*")
        return sorted(int(folder.name.partition("-")[2]) for folder in folders)


def parsed(path: Path, remedy: str) -> dict[str, Any]:
    """Return a JSON object of a training's folder.

    Args:
        path: its file.
        remedy: what to do if it is damaged.

    Raises:
        TrainingFolderError: it is.
    """
    try:
        found = parse_json(path.read_bytes())
    except (OSError, JsonError) as error:
        words = error.strerror if isinstance(error, OSError) else error
        raise TrainingFolderError(f"{path} is damaged: {words}. {remedy}") from error
    if not isinstance(found, dict):
        raise TrainingFolderError(f"{path} is damaged: it is no mapping. {remedy}")
    return found


def _differing(found: Any, asked: Any, name: str = "") -> set[str]:
    """Return the dotted names of what differs."""
    if isinstance(found, dict) and isinstance(asked, dict):
        return {
            other
            for key in found.keys() | asked.keys()
            for other in _differing(
                found.get(key), asked.get(key), f"{name}.{key}" if name else key
            )
        }
    return set() if found == asked else {name}
