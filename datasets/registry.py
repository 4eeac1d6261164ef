"""Find benchmarks: the folder `benchmarks/` is the registry."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encodeonce.datasets.media.sampling import FrameSampling
from encodeonce.datasets.refusal_words import suggestion
from encodeonce.datasets.refusals import Refused, checked
from encodeonce.datasets.sample import Benchmark, BenchmarkError


def benchmark_names() -> list[str]:
    """Return the names of all benchmarks: the files in `benchmarks/`."""
    return sorted(path.stem for path in (Path(__file__).parent / "benchmarks").glob("*.py"))


def benchmark_class(name: str) -> Any:
    """Return the class `BENCHMARK` of the file ``name``.

    Raises:
        BenchmarkError: there is no such benchmark.
    """
    names = benchmark_names()
    if name not in names:
        raise BenchmarkError(
            f"no benchmark is called {name!r}; known: {', '.join(names)}.{suggestion(name, names)}"
        )
    return importlib.import_module(f"encodeonce.datasets.benchmarks.{name}").BENCHMARK


def load_benchmark(
    name: str, options: Mapping[str, Any], frames: FrameSampling | None = None
) -> Benchmark:
    """Make the benchmark ``name`` with the options a user wrote.

    Args:
        name: of a file in `benchmarks/`.
        options: as in a run file.
        frames: which frames of a video are shown. A benchmark whose prompts depend on that has an
            option of this name, which gets it unless the user wrote something else.

    Raises:
        BenchmarkError: there is no such benchmark, or it has no such options.
    """
    known = benchmark_class(name)
    content = dict(options)
    if frames is not None and "frames" in known.model_fields:
        content.setdefault("frames", frames)
    try:
        benchmark: Benchmark = checked(known, content)
    except Refused as error:
        raise BenchmarkError(f"benchmark {name!r}: {error}") from error
    return benchmark
