"""Import Hugging Face's `datasets`, which shares its name with a folder of this repository."""

import importlib
from typing import Any

from encodeonce.datasets.sample import BenchmarkError


def hugging_face_datasets() -> Any:
    """Return the library.

    Raises:
        BenchmarkError: it is not installed.
    """
    library = importlib.import_module("datasets")
    if not hasattr(library, "load_dataset"):
        # From this repository's root, the folder `datasets/` is importable in its place.
        raise BenchmarkError(
            "Hugging Face's 'datasets' is not installed; type: pip install datasets"
        )
    return library
