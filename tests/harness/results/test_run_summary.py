"""The summary of a run's folder; the sums of records are tested where they are made."""

from pathlib import Path

import pytest

from encodeonce.harness.results.run_summary import summarize_run
from encodeonce.harness.run.folder import RunFolder, RunFolderError
from encodeonce.models.kv.spec import FULL, KVSpec
from tests.harness.runs import a_record, write_run


def test_variants_come_in_the_order_they_came_into_the_run(tmp_path: Path) -> None:
    kv = [FULL, KVSpec(method="snapkv", keep=0.5), KVSpec(method="knorm", keep=0.5)]
    names = ["none/gone", "none/knorm@0.5", "none/full"]  # "gone" is not in run.json
    records = [a_record("a1", variant=name) for name in names]
    summary = summarize_run(write_run(tmp_path, records, kv=kv))
    assert list(summary["variants"]["variants"]) == ["none/full", "none/knorm@0.5", "none/gone"]
    assert summary["evaluation"]["variant"] == "none/full"
    assert summary["precompute"] is None


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not the output folder of a run"):
        summarize_run(RunFolder(tmp_path))
