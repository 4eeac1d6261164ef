"""Evaluate vision-language models: encode once, answer from the store.

The project's only regular package; the five folders beside it are its parts (ARCHITECTURE.md).
Names are imported when they are used, so that the command line starts quickly.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encodeonce.cache_store.maintenance.library import FeatureStore
    from encodeonce.jobs.api import Comparison, Run, compare, configure, evaluate, precompute

if not (Path(__file__).parent / "models").exists():  # the source, not a wheel
    __path__.append(str(Path(__file__).parents[1]))

__all__ = [
    "Comparison",
    "FeatureStore",
    "Run",
    "compare",
    "configure",
    "evaluate",
    "precompute",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "cache_store.maintenance.library" if name == "FeatureStore" else "jobs.api"
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
