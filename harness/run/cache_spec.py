"""The run file's section `cache`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from encodeonce.datasets.options import LocalPath
from encodeonce.harness.run.strict import Strict


class CacheSpec(Strict):
    """The feature store."""

    path: LocalPath = Field(
        default=Path("encodeonce-cache"),
        validate_default=True,
        description="Folder shared by runs, jobs and machines; relative to the working directory.",
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
