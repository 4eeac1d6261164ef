"""A unit's features do not depend on its neighbours."""

import pytest
import torch

from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.vision.micro_batch import MicroBatch


@pytest.mark.parametrize("num_units", [1, 3, 4, 5, 9])
def test_the_model_only_ever_sees_one_shape(num_units: int) -> None:
    seen: list[tuple[int, ...]] = []

    def encode(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(tuple(pixels.shape))
        return {"main": pixels.mean(dim=(1, 2))[:, None]}

    pixels = torch.randn(num_units, 2, 3)
    features = MicroBatch(encode, 4)(pixels)
    assert set(seen) == {(4, 2, 3)}
    assert torch.equal(features["main"], encode(pixels)["main"])


@pytest.mark.parametrize("places", [[0, 1, 2, 3], [0, 0, 1, 0], [0, 0, 0, 1]])
def test_an_encoder_whose_result_depends_on_the_place_is_refused(places: list[int]) -> None:
    def encode(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"main": pixels + torch.tensor(places)[:, None]}

    with pytest.raises(CheckpointError, match=r"vision\.micro_batch: 1"):
        MicroBatch(encode, 4)(torch.randn(4, 2))


def test_an_encoder_that_mixes_neighbours_is_refused() -> None:
    def encode(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"main": pixels - pixels.mean(dim=0)}

    with pytest.raises(CheckpointError, match="place in the batch"):
        MicroBatch(encode, 4)(torch.randn(4, 2))
