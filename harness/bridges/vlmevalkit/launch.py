"""Runs VLMEvalKit's own run.py, from the user's checkout, with our models and benchmarks known.

The kit has no place for plugins, but its registries are plain dictionaries and lists: what is put
there before run.py starts is found like what is its own. Its source stays as it is. Importing the
kit turns gradients and the verification of certificates off for the whole process: it must be
one of its own.
"""

import importlib
import runpy
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from encodeonce.harness.bridges.vlmevalkit.run_file import KitConfig
from encodeonce.harness.bridges.vlmevalkit.tally import Tally


class KitError(ValueError):
    """VLMEvalKit cannot be used, or cannot be given what the run file says."""


def find_script(kit: Path) -> Path:
    """Return the kit's run.py.

    Raises:
        KitError: this is no checkout of VLMEvalKit.
    """
    script = kit.absolute() / "run.py"
    if not (script.is_file() and (kit / "vlmeval").is_dir()):
        raise KitError(
            f"{kit} is not a checkout of VLMEvalKit: it has no run.py beside a folder vlmeval. "
            "Type: git clone https://github.com/open-compass/VLMEvalKit, and name that folder by "
            "--kit or the environment variable VLMEVALKIT"
        )
    return script


@contextmanager
def as_script(script: Path, arguments: Sequence[str]) -> Iterator[None]:
    """Let modules beside a script be found and its arguments be read, as if Python had run it."""
    argv, path = sys.argv, list(sys.path)
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path


def register(config: KitConfig, tally: Tally) -> None:
    """Put our models and benchmarks among the kit's.

    Args:
        config: which they are.
        tally: is told what the questions took.

    Raises:
        KitError: the kit does not import, or has a model or benchmark of that name.
    """
    try:
        models = importlib.import_module("vlmeval.config").supported_VLM
        registry = importlib.import_module("vlmeval.dataset")
        ours = importlib.import_module("encodeonce.harness.bridges.vlmevalkit.model")
        benchmarks = importlib.import_module("encodeonce.harness.bridges.vlmevalkit.dataset")
    # RuntimeError: torchvision is of another build than torch.
    except (ImportError, RuntimeError) as error:
        raise KitError(
            f"VLMEvalKit does not import: {error}. Install what it needs into this environment "
            "(its requirements.txt, or a part of that: constraints-vlmevalkit.txt)"
        ) from error
    for name in config.models:
        _require_free(name, models, "vlmevalkit.name")
        models[name] = partial(_load, partial(ours.EncodeOnceModel, config, name, tally))
    for spec in config.benchmarks:
        _require_free(spec.title, registry.SUPPORTED_DATASETS, "benchmarks[].label")
        _require_free(spec.title, registry.supported_video_datasets, "benchmarks[].label")
        made = benchmarks.benchmark_class(spec, config)
        registry.DATASET_CLASSES.append(made)
        registry.SUPPORTED_DATASETS.append(spec.title)
        registry.supported_video_datasets[spec.title] = partial(made)


def run(script: Path) -> None:
    """Run the kit.

    Raises:
        SystemExit: it ends so.
    """
    runpy.run_path(str(script), run_name="__main__")


def _load(load: Callable[[], Any], use_vllm: bool = False) -> Any:
    """Load the model; the kit passes ``use_vllm`` to models that are called like a Qwen-VL."""
    if use_vllm:
        raise KitError("--use-vllm: encodeonce's models answer from stored features, without vLLM")
    return load()


def _require_free(name: str, taken: Container[str], key: str) -> None:
    if name in taken:
        raise KitError(f"{key}: VLMEvalKit has something called {name!r}; choose another name")
