"""Finding benchmarks: the folder `benchmarks/` is the registry."""

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from encodeonce.datasets.sample import Benchmark, BenchmarkError


def benchmark_names() -> list[str]:
    """Return the names of all benchmarks: the files in `benchmarks/`."""
    return sorted(path.stem for path in (Path(__file__).parent / "benchmarks").glob("*.py"))


def load_benchmark(name: str, options: Mapping[str, Any]) -> Benchmark:
    """Make the benchmark ``name`` with the options a user wrote.

    Raises:
        BenchmarkError: there is no such benchmark, or it has no such options.
    """
    names = benchmark_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise BenchmarkError(f"no benchmark is called {name!r}; known: {', '.join(names)}.{hint}")
    benchmark_class = importlib.import_module(f"encodeonce.datasets.benchmarks.{name}").BENCHMARK
    try:
        benchmark: Benchmark = benchmark_class.model_validate(dict(options))
    except ValidationError as error:
        allowed = ", ".join(benchmark_class.model_fields)
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise BenchmarkError(f"benchmark {name!r}: {problems}. Options: {allowed}") from error
    return benchmark
