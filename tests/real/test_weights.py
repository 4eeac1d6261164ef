"""Weight variants of a real model, by the likelihood of prose."""

from pathlib import Path

import pytest
import torch

from tests.real.smollm2 import TextDecoder
from tests.real.weights import loaded, made, nlls, pieces


@pytest.fixture(scope="module")
def prose(decoder: TextDecoder) -> list[list[int]]:
    return pieces(decoder, 4, held_out=True)


@pytest.fixture(scope="module")
def plain(decoder: TextDecoder, prose: list[list[int]]) -> float:
    return mean(nlls(decoder.model, prose))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_the_model_reads_prose(plain: float) -> None:
    assert 2.5 < plain < 4.0


@pytest.mark.parametrize(
    ("method", "most"), [("torchao-int8", 0.01), ("bnb-int8", 0.05), ("bnb-nf4", 0.4)]
)
def test_variants_made_while_loading_lose_little(
    checkpoint: Path, prose: list[list[int]], plain: float, method: str, most: float
) -> None:
    assert abs(mean(nlls(loaded(checkpoint, method), prose)) - plain) < most


def test_a_checkpoint_of_ours_is_read_by_transformers_as_it_was_rounded(
    checkpoint: Path, prose: list[list[int]]
) -> None:
    ids = torch.tensor(prose[:1])
    with torch.inference_mode():
        ours = loaded(checkpoint, "rtn")(ids).logits
        theirs = made(checkpoint, "rtn")(ids).logits
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_awq_loses_less_than_rounding_to_nearest(
    checkpoint: Path, prose: list[list[int]], plain: float
) -> None:
    awq = made(checkpoint, "awq", num_prompts=4, num_search_tokens=512)
    rounded = mean(nlls(loaded(checkpoint, "rtn"), prose)) - plain
    assert 0 < mean(nlls(awq, prose)) - plain < rounded
