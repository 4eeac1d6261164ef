"""Load the table that a task file asks about, from a local file or folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encodeonce.datasets.readers.hugging_face import hugging_face_datasets
from encodeonce.datasets.readers.task_file import TaskFile
from encodeonce.datasets.sample import BenchmarkError

_BUILDERS = {
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".arrow": "arrow",
}
# They change where lmms-eval looks and stores, not what it reads.
_KWARGS_WITHOUT_EFFECT = ("token", "cache_dir", "video", "force_download", "local_files_only")


def load_table(task: TaskFile, *, base: Path, place: Path | None) -> Any:
    """Return the split that a task asks about.

    Args:
        task: the task file.
        base: folder of the task file; data files are relative to it.
        place: file or folder to read in place of the task's ``dataset_path``.

    Raises:
        BenchmarkError: there is no such table here, or it cannot be read.
    """
    split = task.test_split or task.validation_split
    if split is None:
        raise BenchmarkError(f"task {task.task!r} names neither test_split nor validation_split")
    library = hugging_face_datasets()
    try:
        if place is None and task.dataset_path in _BUILDERS.values():
            files = _data_files(task, base)
            return library.load_dataset(task.dataset_path, data_files=files, split=split)
        path = place if place is not None else base / task.dataset_path
        return _from_path(library, task, path, split)
    except BenchmarkError:
        raise
    except (OSError, ValueError, library.exceptions.DatasetsError) as error:
        raise BenchmarkError(
            f"task {task.task!r}: split {split!r} cannot be loaded: {error}"
        ) from error


def _from_path(library: Any, task: TaskFile, path: Path, split: str) -> Any:
    if path.is_dir():
        if (path / "dataset_dict.json").exists():
            return library.load_from_disk(str(path / split))
        return library.load_dataset(str(path), name=task.dataset_name, split=split)
    if path.is_file() and path.suffix in _BUILDERS:
        return library.load_dataset(
            _BUILDERS[path.suffix], data_files={split: str(path)}, split=split
        )
    raise BenchmarkError(
        f"task {task.task!r} asks about {task.dataset_path!r}, and {path} is neither a folder nor "
        f"a file ({', '.join(_BUILDERS)}). Nothing is downloaded: fetch a data set of the Hub with "
        f"`hf download {task.dataset_path} --repo-type dataset --local-dir FOLDER` and write "
        f"FOLDER as option `dataset`"
    )


def _data_files(task: TaskFile, base: Path) -> Any:
    """Return ``data_files`` with paths made absolute."""
    files = task.dataset_kwargs.get("data_files")
    others = set(task.dataset_kwargs) - {"data_files", *_KWARGS_WITHOUT_EFFECT}
    if files is None or others:
        raise BenchmarkError(
            f"task {task.task!r}: dataset_path {task.dataset_path!r} needs dataset_kwargs: "
            f"{{data_files: …}} and nothing else; got {sorted(task.dataset_kwargs)}"
        )
    split = task.test_split or task.validation_split
    if not isinstance(files, dict):
        files = {split: files}
    return {
        name: [str(base / one) for one in ([value] if isinstance(value, str) else value)]
        for name, value in files.items()
    }


def select_columns(table: Any, names: Sequence[str]) -> Any:
    """Return the table with these columns only; pictures in them as ``{bytes, path}``.

    Raises:
        BenchmarkError: one is missing, or holds videos or audio themselves instead of their paths.
    """
    if unknown := [name for name in names if name not in table.column_names]:
        raise BenchmarkError(
            f"there is no column {', '.join(map(repr, unknown))}; there are: "
            f"{', '.join(table.column_names)}"
        )
    table = table.select_columns(list(dict.fromkeys(names)))
    encoded = hugging_face_datasets().Image(decode=False)
    for name, feature in list(table.features.items()):
        kind = type(getattr(feature, "feature", feature)).__name__
        if kind in ("Video", "Audio"):
            raise BenchmarkError(
                f"column {name!r} holds {kind.lower()} data, not paths: write them to files, and "
                f"their paths, relative to media_root, into a column"
            )
        if kind == "Image":
            is_list = hasattr(feature, "feature")
            table = table.cast_column(name, type(feature)(encoded) if is_list else encoded)
    return table
