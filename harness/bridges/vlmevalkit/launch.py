"""Runs VLMEvalKit's own run.py from the user's checkout, with our models and benchmarks registered.

The kit has no plugin interface, but its registries are plain dictionaries and lists: entries added
before run.py starts are found like the kit's own. Its source stays untouched. Importing the kit
turns off gradients and certificate verification for the whole process, so it needs one of its own.
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
    """VLMEvalKit cannot be used, or cannot do what the run file says."""


def find_script(kit: Path) -> Path:
    """Return the kit's run.py.

    Raises:
        KitError: this is not a checkout of VLMEvalKit.
    """
    script = kit.absolute() / "run.py"
    if not (script.is_file() and (kit / "vlmeval").is_dir()):
        raise KitError(
            f"{kit} is not a checkout of VLMEvalKit: it has no run.py beside a folder vlmeval. "
            "Type: git clone https://github.com/open-compass/VLMEvalKit, and give that folder with "
            "--kit or the environment variable VLMEVALKIT"
        )
    return script


@contextmanager
def as_script(script: Path, arguments: Sequence[str]) -> Iterator[None]:
    """Set the module path and the arguments as if Python had run the script."""
    argv, path = sys.argv, list(sys.path)
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path


def register(config: KitConfig, tally: Tally) -> None:
    """Register our models and benchmarks with the kit.

    Args:
        config: names them.
        tally: counts what the questions took.

    Raises:
        KitError: the kit cannot be imported, or already has a model or benchmark of that name.
    """
    try:
        models = importlib.import_module("vlmeval.config").supported_VLM
        registry = importlib.import_module("vlmeval.dataset")
        ours = importlib.import_module("encodeonce.harness.bridges.vlmevalkit.model")
        benchmarks = importlib.import_module("encodeonce.harness.bridges.vlmevalkit.dataset")
    # RuntimeError: torchvision is of another build than torch.
    except (ImportError, RuntimeError) as error:
        raise KitError(
            f"VLMEvalKit cannot be imported: {error}. Install its dependencies here "
            "(its requirements.txt, or the subset in constraints-vlmevalkit.txt)"
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
        SystemExit: the kit exits with a status.
    """
    runpy.run_path(str(script), run_name="__main__")


def _load(load: Callable[[], Any], use_vllm: bool = False) -> Any:
    """Load the model; the kit passes ``use_vllm`` to models with a name like Qwen-VL's."""
    if use_vllm:
        raise KitError("--use-vllm: encodeonce's models answer from stored features, without vLLM")
    return load()


def _require_free(name: str, taken: Container[str], key: str) -> None:
    if name in taken:
        raise KitError(f"{key}: VLMEvalKit already uses the name {name!r}; choose another one")
