"""The formats that a run can be exported to."""

import pytest

from encodeonce.harness.bridges.export_formats import find_export, formats
from encodeonce.harness.results.export import ExportError


def test_every_file_of_the_folder_is_a_format() -> None:
    assert {"lmms-eval", "vlmevalkit"} <= set(formats())
    for name in formats():
        assert callable(find_export(name))
    with pytest.raises(ExportError, match="known: csv, hub, inspect, lmms-eval, parquet, "):
        find_export("excel")
