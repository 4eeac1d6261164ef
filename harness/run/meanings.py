"""The meanings of a run's variants: their fields, and the digests of the files that they name."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from encodeonce.datasets.local_path import local_path
from encodeonce.harness.run.variant import NO_ADAPTER, Meanings
from encodeonce.models.adapters.checkpoint import ADAPTER_FILES, adapter_folder
from encodeonce.models.adapters.heads import HEAD_FILES
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.checkpoint.files import local_checkpoint
from encodeonce.models.kv.registry import file_options
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.spec import ModelSpec, WeightsSpec


def describe_variants(
    weights: Iterable[WeightsSpec],
    kv: Iterable[KVSpec],
    sha256: Callable[[Path], str],
    adapters: Sequence[AdapterSpec | None] = (None,),
) -> Meanings:
    """Return the meaning of each variant's title.

    Args:
        weights: weight variants.
        kv: cache variants.
        sha256: returns the digest of a file, or of a checkpoint's folder.
        adapters: adapters; None is the base.
    """
    found = {
        "weights": {spec.title: _meaning(spec, sha256) for spec in weights},
        "kv": {spec.title: _meaning(spec, sha256) for spec in kv},
    }
    if any(adapters):
        found["adapters"] = dict(_adapter_meaning(one, sha256) for one in adapters)
    return found


def _adapter_meaning(
    spec: AdapterSpec | None, sha256: Callable[[Path], str]
) -> tuple[str, dict[str, Any]]:
    """Return an adapter's title and meaning."""
    if spec is None:
        return NO_ADAPTER, {}
    folder = adapter_folder(spec)
    names = (*ADAPTER_FILES, *HEAD_FILES)
    files = {name: sha256(folder / name) for name in names if (folder / name).is_file()}
    # A folder that has moved is still the same: its digests say what it is.
    return spec.title, {"path": Path(spec.path).name, "files": files}


def _meaning(spec: WeightsSpec | KVSpec, sha256: Callable[[Path], str]) -> dict[str, Any]:
    content = spec.model_dump(mode="json", exclude={"label"})
    files = {name: sha256(path) for name, path in _files(spec)}
    # A folder that has moved is still the same: its name and digest say what it is.
    for option in file_options(spec) if isinstance(spec, KVSpec) else ():
        path = spec.options[option]
        content["options"][option] = Path(path).name
        files[Path(path).name] = files.pop(path)
    return {**content, "files": files}


def _files(spec: WeightsSpec | KVSpec) -> Iterator[tuple[str, Path]]:
    """Yield what a variant's answers depend on besides its fields: a checkpoint, a profile."""
    if isinstance(spec, WeightsSpec) and spec.path is not None:
        yield spec.path, local_checkpoint(ModelSpec(path=spec.path))
    for value in spec.options.values():
        if isinstance(value, str) and value and (path := _existing(value)) is not None:
            yield value, path


def _existing(value: str) -> Path | None:
    """Return the file that a text names, if it names one."""
    try:
        path = local_path(value)
        return path if path.exists() else None
    except (ValueError, OSError):  # not a path, or one that is too long
        return None
