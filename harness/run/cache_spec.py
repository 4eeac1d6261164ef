"""The run file's section `cache`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from encodeonce.datasets.local_path import local_path
from encodeonce.datasets.options import LocalPath
from encodeonce.harness.run.strict import Strict


def is_url(value: object) -> bool:
    """Return whether a cache is named by a URL, and not by a folder."""
    return isinstance(value, str) and "://" in value


def _address(value: Any) -> Any:
    return value if is_url(value) or not isinstance(value, str | Path) else local_path(value)


CacheAddress = Annotated[Path | str, BeforeValidator(_address)]
"""A folder, or the URL of a place in object storage."""


class CacheSpec(Strict):
    """The feature store."""

    path: LocalPath = Field(
        default=Path("encodeonce-cache"),
        validate_default=True,
        description="Folder shared by runs, jobs and machines; relative to the working directory.",
    )
    remote: str | None = Field(
        default=None,
        description="Object storage that holds the features, s3://BUCKET/PREFIX or "
        "gs://BUCKET/PREFIX; `path` then is a local folder with a copy of the index.",
    )
    readonly: tuple[CacheAddress, ...] = Field(
        default=(),
        description="Caches that are only read, asked in this order for what one's own lacks: a "
        "group's shared cache under one's own. Folders, or URLs like `remote`.",
    )
    codec: Literal["zstd", "raw"] = Field(
        default="zstd", description="'zstd' (lossless) or 'raw' (larger, faster from memory)."
    )
    memory_mib: int = Field(
        default=0,
        ge=0,
        description="Features that each worker keeps in memory, MiB, for media that several "
        "benchmarks share.",
    )
    on_miss: Literal["error", "encode"] = Field(
        default="error",
        description="What evaluation does when features are missing: 'error' fails the sample, "
        "'encode' computes and stores them, which needs the tower on every worker.",
    )

    @field_validator("remote")
    @classmethod
    def _in_object_storage(cls, value: str | None) -> str | None:
        if value is not None and not is_url(value):
            raise ValueError(f"{value!r}: write s3://BUCKET/PREFIX or gs://BUCKET/PREFIX")
        return value

    @field_validator("readonly")
    @classmethod
    def _others_than_its_own(
        cls, value: tuple[Path | str, ...], info: ValidationInfo
    ) -> tuple[Path | str, ...]:
        every = [info.data.get("remote") or info.data.get("path"), *value]
        if twice := [path for number, path in enumerate(every) if path in every[:number]]:
            raise ValueError(
                f"{twice[0]} is there twice; name each cache once, one's own as `path`"
            )
        return value
