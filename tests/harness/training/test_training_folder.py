"""A training's folder: one process at a time, and one error for what cannot be read or written."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from encodeonce.harness.run.output_error import OutputError
from encodeonce.harness.training.folder import TrainingFolder, TrainingFolderError
from encodeonce.models.kv.trained.compressor import new_compressor
from encodeonce.models.kv.trained.files import write_compressor
from encodeonce.models.kv.trained.header import CompressorForm, CompressorHeader


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    with TrainingFolder(tmp_path / "t") as one:
        one.create({"factor": 16})
        with (
            TrainingFolder(tmp_path / "t") as other,
            pytest.raises(TrainingFolderError, match="another encodeonce process is writing to"),
        ):
            other.create({"factor": 16})
    with TrainingFolder(tmp_path / "t") as later:
        later.create({"factor": 16})


def test_a_damaged_state_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step-0000004").mkdir(parents=True)
    (tmp_path / "train.json").write_text("[1")
    with TrainingFolder(tmp_path) as folder:
        with pytest.raises(TrainingFolderError, match=r"4/state.json is damaged: .* Delete"):
            folder.state()
        with pytest.raises(TrainingFolderError, match=r"train.json is damaged: .*delete this one"):
            folder.create({})


def test_a_full_disk_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer of safetensors would raise an error of its own, without the system's reason."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    compressor = new_compressor(CompressorForm(factor=2), 1, 4, dropout=0.0, seed=0)
    header = CompressorHeader(factor=2, layers=(0,), head_width=4, model="tiny")
    subject: Any = SimpleNamespace(
        module=compressor, write=lambda folder: write_compressor(folder, header, compressor)
    )
    optimizer = torch.optim.Adam(compressor.parameters())
    with TrainingFolder(tmp_path) as folder:
        folder.create({})
        folder.begin(subject, optimizer)
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(OutputError, match="The disk or quota is full: free space there"):
            folder.begin(subject, optimizer)
