"""Weight variants of a real model, by the likelihood of prose."""

from pathlib import Path

import pytest

from tests.real.calibrated import awq, calibration_pieces
from tests.real.smollm2 import TextDecoder
from tests.real.weights import loaded, nlls, pieces


@pytest.fixture(scope="module")
def prose(decoder: TextDecoder) -> list[list[int]]:
    return pieces(decoder, 4)


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


def test_awq_loses_less_than_rounding_to_nearest(
    checkpoint: Path, decoder: TextDecoder, prose: list[list[int]], plain: float, tmp_path: Path
) -> None:
    model = awq(checkpoint, tmp_path, calibration_pieces(decoder))
    assert plain < mean(nlls(model, prose)) < mean(nlls(loaded(checkpoint, "rtn"), prose))
