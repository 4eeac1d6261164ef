"""Tests of the tower's names: vLLM reads the Hub's, transformers both."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import LlavaForConditionalGeneration

from encodeonce.models.checkpoint.files import CheckpointError, local_checkpoint
from encodeonce.models.checkpoint.hub_names import rename_tower
from encodeonce.models.spec import ModelSpec
from tests.fixtures.tiny_models import write_tiny_llava


def names(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", framework="pt") as opened:
        return set(opened.keys())


def test_transformers_reads_the_same_weights_under_either_name(tmp_path: Path) -> None:
    saved = write_tiny_llava(tmp_path / "saved")
    renamed = tmp_path / "renamed"
    shutil.copytree(saved, renamed)
    assert rename_tower(renamed)
    assert {one for one in names(renamed) if one.startswith("vision_tower.")} == {
        one.replace("vision_tower.", "vision_tower.vision_model.")
        for one in names(saved)
        if one.startswith("vision_tower.")
    }
    one, other = (
        LlavaForConditionalGeneration.from_pretrained(path).state_dict()
        for path in (saved, renamed)
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_second_renaming_changes_nothing(tmp_path: Path) -> None:
    folder = write_tiny_llava(tmp_path / "model")
    rename_tower(folder)
    before = (folder / "model.safetensors").read_bytes()
    assert not rename_tower(folder)
    assert (folder / "model.safetensors").read_bytes() == before


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        rename_tower(tmp_path)


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(local_checkpoint(ModelSpec(path="demo")), folder)
    rename_tower(folder)
    module = "encodeonce.models.checkpoint.hub_names"
    done = subprocess.run(
        [sys.executable, "-m", module, folder], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{folder}: nothing to rename\n"
