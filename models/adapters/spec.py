"""The part of a run file about one adapter: where its checkpoint is, and what it is called."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from encodeonce.datasets.local_path import local_path
from encodeonce.datasets.strict_json import JsonError, parse_json


class NumberedAdapters(Protocol):
    """The adapters that a decoder has."""

    def number(self, title: str) -> int:
        """Return the number of the one of this title."""
        ...


class AdapterSpec(BaseModel):
    """A LoRA adapter in peft's format."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        min_length=1,
        description="Folder with adapter_config.json and adapter_model.safetensors, as peft's "
        "save_pretrained writes them, or a hub id (org/name).",
    )
    revision: str | None = Field(default=None, description="Hub revision; ignored for a folder.")
    label: str | None = Field(
        default=None, min_length=1, description="Name in records and reports; else the folder's."
    )

    benchmarks: tuple[str, ...] = Field(
        default=(),
        description="Only the benchmarks of these names (or labels) are answered under it; none "
        "for all.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_a_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_a_plain_title(self) -> Self:
        if found := sorted({"/", "+"} & set(self.title)):
            raise ValueError(
                f"the adapter's name {self.title!r} contains {' and '.join(found)}, which separate "
                "the parts of a variant's name; give it another with 'label'"
            )
        if self.title == "none":
            raise ValueError(
                "an adapter cannot be called 'none', which means the base; give it a 'label'"
            )
        return self

    @property
    def title(self) -> str:
        """The adapter's name in records."""
        return self.label or PurePath(self.path).name

    def answers(self, benchmark: str) -> bool:
        """Return whether a benchmark, by its label, is to be answered under it."""
        return not self.benchmarks or benchmark in self.benchmarks

    def for_workers(self) -> Self:
        """Return an adapter that is the same in any working folder, under the same title."""
        try:
            folder = local_path(self.path)
        except ValueError:  # refused when it is read, with what is wrong
            return self
        if not folder.is_dir():
            return self
        return self.model_copy(update={"path": str(folder.resolve()), "label": self.title})


def adapters_from(value: str) -> list[dict[str, str]]:
    """Return the adapters that a fusion's adapters.json names, as a run file would list them.

    Args:
        value: path of the file, or of its folder.

    Raises:
        ValueError: there is none, or it names no adapters.
    """
    path = local_path(value)
    path = path / "adapters.json" if path.is_dir() else path
    example = "give the adapters.json that `encodeonce fuse adapters` wrote"
    try:
        found = parse_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"from: {path} cannot be read ({error.strerror}); {example}") from error
    except JsonError as error:
        raise ValueError(f"from: {path} is damaged: {error}; {example}") from error
    adapters = found.get("adapters") if isinstance(found, Mapping) else None
    if not isinstance(adapters, Mapping) or not adapters:
        raise ValueError(f"from: {path} names no adapters; {example}")
    for name, one in adapters.items():
        if not isinstance(one, Mapping) or not isinstance(one.get("path"), str):
            raise ValueError(f"from: {path}: the adapter {name!r} has no 'path'; {example}")
    return [
        {"path": str((path.parent / one["path"]).resolve()), "label": name}
        for name, one in adapters.items()
    ]
