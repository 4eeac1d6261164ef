"""The job that all ways are given, and what comes of one of them."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

from encodeonce.datasets.refusals import checked
from encodeonce.harness.run.config import RunConfig


@dataclass(frozen=True, slots=True)
class Way:
    """A way to do the job."""

    title: str
    """Its name in tables."""
    needs: str = ""
    """The library that it needs, one of `LIBRARIES`."""


WAYS: Mapping[str, Way] = {
    "plain": Way("plain transformers"),
    "lmms-eval": Way("lmms-eval, its own class", "lmms_eval"),
    "vllm": Way("vLLM, from pixels", "vllm"),
    "vllm-connector": Way("vLLM with our connector, second process", "vllm"),
    "vllm-embeddings": Way("vLLM, given embeddings", "vllm"),
    "cold": Way("ours, cold"),
    "warm": Way("ours, warm"),
    "lmms-eval-ours": Way("ours inside lmms-eval, warm", "lmms_eval"),
    "vlmevalkit-ours": Way("ours inside VLMEvalKit, warm", "vlmevalkit"),
    "engine-vllm": Way("ours, engine: vllm", "vllm"),
}
UNDER_ADAPTERS = ("warm", "engine-vllm")
"""Those that answer under several adapters at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """What some ways need."""

    module: str
    """What Python imports where it, or what it needs itself, is installed."""
    install: str
    """What to type to get it."""
    checkout: str = ""
    """The environment variable that names its checkout, if it is not installed but checked out."""

    def is_here(self) -> bool:
        """Say whether this environment has it."""
        return find_spec(self.module) is not None and self.is_named()

    def is_named(self) -> bool:
        """Say whether its checkout is known, or needs not be."""
        folder = os.environ.get(self.checkout, "")
        return not self.checkout or Path(folder, "run.py").is_file()


LIBRARIES: Mapping[str, Library] = {
    "vllm": Library(
        module="vllm",
        install="pip install vllm, or without a GPU: make .venv-vllm/installed, and add --python "
        "vllm=.venv-vllm/bin/python",
    ),
    "lmms_eval": Library(
        module="lmms_eval",
        install="pip install lmms_eval, or: make .venv-lmms/installed, and add --python "
        "lmms_eval=.venv-lmms/bin/python",
    ),
    "vlmevalkit": Library(
        module="validators",
        install="git clone https://github.com/open-compass/VLMEvalKit && export "
        "VLMEVALKIT=$PWD/VLMEvalKit; make .venv-vlmevalkit/installed, and add --python "
        "vlmevalkit=.venv-vlmevalkit/bin/python",
        checkout="VLMEVALKIT",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Questions about pictures or videos, and where the ways find their stores."""

    config: Mapping[str, Any]
    """Of a run file, with a store that holds all features."""
    empty: str
    """A folder for a store that holds nothing."""
    connector: str
    """The connector's store, filled by an earlier process."""

    def run_config(self, **changes: Any) -> RunConfig:
        """Return the run; keyword arguments replace its top-level keys."""
        return checked(RunConfig, {**self.config, **changes})

    def write(self, path: Path) -> Path:
        """Write it for another process."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


class Took(NamedTuple):
    """Seconds by the clock, and of this process's own work."""

    answer_s: float
    cpu_s: float


def now() -> Took:
    """Return what both clocks show."""
    return Took(time.perf_counter(), time.process_time())


def since(start: Took) -> Took:
    """Return what has gone by on both."""
    end = now()
    return Took(end.answer_s - start.answer_s, end.cpu_s - start.cpu_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What one process did."""

    load_s: float
    """From its start until it could answer."""
    answer_s: float
    """From there until the last answer."""
    cpu_s: float
    """The process's own part of `answer_s`, which others on the machine do not lengthen."""
    texts: Mapping[str, str]
    """By the sample's id, and its adapter's title behind it."""
    num_encoded: int
    """Pictures and frames that a vision tower encoded."""
    num_prefilled: int | None
    """Tokens of prompts whose keys and values were computed; None where the way does not tell."""
    stages: Mapping[str, float]
    """Seconds of `answer_s` by stage, as far as the way tells."""

    def write(self, path: Path) -> None:
        """Write it for the process that compares."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
