"""Find benchmarks: the folder `benchmarks/` is the registry."""

import importlib
import re
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


def benchmark_called(name: str) -> str:
    """Return our name of a benchmark that others call by another: ``Video-MME``, ``mlvu_dev``.

    Raises:
        BenchmarkError: no benchmark is called so, here or in lmms-eval or VLMEvalKit.
    """
    names = benchmark_names()
    if name in names:
        return name
    wanted = _bare(name)
    for one in names:
        if wanted in map(_bare, (one, *benchmark_class(one).about.also)):
            return one
    raise BenchmarkError(
        f"no benchmark is called {name!r}, nor is it a name in lmms-eval or VLMEvalKit of one that "
        f"is here; known: {', '.join(names)}.{suggestion(name, names)} Any of their tasks: "
        "lmms_eval_task:FILE.yaml, vlmevalkit_tsv:FILE.tsv"
    )


def _bare(name: str) -> str:
    """Return a name without signs and capitals, in which it may differ from program to program."""
    return re.sub(r"[\W_]", "", name).lower()


def entry_of(text: str) -> dict[str, Any]:
    """Return a run file's entry for a benchmark written as ``NAME`` or ``NAME:PATH``.

    The path is that of its data: the option ``folder``, or ``file``. Where media have a folder of
    their own (``media_root``), it is the file's.

    Raises:
        BenchmarkError: there is no such benchmark, or it has no such option.
    """
    name, _, path = text.partition(":")
    found = benchmark_called(name)
    entry: dict[str, Any] = {"name": found}
    if not path:
        return entry
    options = benchmark_class(found).model_fields
    places = [option for option in ("folder", "file") if option in options]
    if not places:
        raise BenchmarkError(f"benchmark {found!r} has neither folder nor file; got {text!r}")
    entry["options"] = {places[0]: path}
    if "media_root" in options:
        entry["options"]["media_root"] = str(Path(path).parent)
    return entry


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
        hint = f". See: encodeonce benchmarks {name}" if "is missing" in str(error) else ""
        raise BenchmarkError(f"benchmark {name!r}: {error}{hint}") from error
    return benchmark
