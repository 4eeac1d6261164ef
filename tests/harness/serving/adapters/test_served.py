"""Adapters on a decoder that serves by the clock: read once, tried before they are believed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from encodeonce.harness.serving.adapters import shelf as shelves
from encodeonce.harness.serving.adapters.costs import FASTEST
from encodeonce.harness.serving.adapters.load import AdaptersLoad
from encodeonce.harness.serving.adapters.modes import UNMERGED, merged, mixed
from encodeonce.harness.serving.adapters.peft_model import check_names
from encodeonce.harness.serving.adapters.served import ServedAdapters
from encodeonce.harness.serving.adapters.shelf import AdapterShelf
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.family import find_family
from encodeonce.models.language.adapting import BASE, using
from encodeonce.models.spec import ModelSpec, VisionSpec, WeightsSpec
from tests.contracts.family import Model
from tests.models.adapters.made import factors, read, write

TEXT = "How many times is the 3 shown?"
IDS = torch.arange(10, 42)[None]
FOUR = AdaptersLoad(number=4, random={"rank": 4}, allow_mixed=True)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def decoder() -> PrefixDecoder:
    return Model(DEMO_CHECKPOINT, VisionSpec()).decoder


@pytest.fixture
def shelf(decoder: PrefixDecoder) -> Iterator[AdapterShelf]:
    found = AdapterShelf(FOUR, TEXT)
    yield found
    found.close()
    decoder.drop_adapters()


def logits(decoder: PrefixDecoder, number: int) -> torch.Tensor:
    with torch.inference_mode(), using(number):
        return torch.as_tensor(decoder.model(input_ids=IDS).logits)


def test_each_mode_gives_an_adapters_answers(decoder: PrefixDecoder, shelf: AdapterShelf) -> None:
    plain = logits(decoder, BASE)
    served = shelf.on(decoder)
    assert served.begin(FASTEST, merges=True) is decoder
    expected = [logits(decoder, number) for number in range(4)]
    assert torch.equal(logits(decoder, BASE), plain)
    for mode in (merged(1), mixed(2), merged(0), mixed(0), UNMERGED, mixed(3)):
        served.enter(mode)
        numbers = [mode.adapter] if mode.kind == "merged" else range(4)
        for number in numbers:
            assert number is not None
            found = logits(decoder, number)
            torch.testing.assert_close(found, expected[number], rtol=1e-4, atol=1e-3)
    served.enter(UNMERGED)
    assert torch.equal(logits(decoder, BASE), plain)
    assert torch.equal(logits(decoder, 2), expected[2])


def test_adapters_are_read_and_copied_once_for_all_cells(
    decoder: PrefixDecoder, shelf: AdapterShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"write_random_adapters": 0, "read_adapter": 0}
    for name in counts:
        usual = getattr(shelves, name)

        def counting(*arguments: Any, name: str = name, usual: Any = usual) -> Any:
            counts[name] += 1
            return usual(*arguments)

        monkeypatch.setattr(shelves, name, counting)
    list(shelf.check(decoder, ["gather"]))
    copies = set()
    for kind in ("gather", "grouped", FASTEST):
        served = shelf.on(decoder)
        served.begin(kind, merges=kind != "gather")
        served.enter(merged(1))
        copies.add((id(served), id(served._weights)))
        served.enter(UNMERGED)
    assert counts == {"write_random_adapters": 1, "read_adapter": 4}
    assert len(copies) == 1


def test_rows_are_mixed_only_where_that_gives_their_answers(decoder: PrefixDecoder) -> None:
    """Large products leave little of the base's bits in a sum of bfloat16."""
    shelf = AdapterShelf(FOUR, TEXT)
    (note,) = shelf.check(decoder, [FASTEST])
    assert "logits of mixed rows were within" in note
    shelf.close()
    rough = Model(DEMO_CHECKPOINT, VisionSpec()).decoder
    rough.model.to(torch.bfloat16)
    coarse = AdapterShelf(FOUR, TEXT)
    served = coarse.on(rough)
    for read_one in coarse._read:
        for product in read_one.products.values():
            product.b.mul_(100)
    rough.hold_adapters(coarse._read)
    served = ServedAdapters(coarse._specs, coarse._read, rough, TEXT)
    with pytest.raises(AdapterError, match=r"adapters\.allow_mixed: with 'random-0'.*0\.02 is"):
        served.check_mixed()
    coarse.close()


def test_pefts_loop_wants_the_models_own_names(decoder: PrefixDecoder, tmp_path: Path) -> None:
    own = "model.language_model.layers.0.self_attn.q_proj"
    width = decoder.model.get_submodule(own).weight.shape
    for path in (own, "language_model.model.layers.0.self_attn.q_proj"):
        adapter = read(write(tmp_path / path, factors({path: (width[1], width[0])})))
        if path == own:
            check_names(decoder.model, [adapter])
        else:
            with pytest.raises(AdapterError, match="finds layers by their names alone"):
                check_names(decoder.model, [adapter])


def test_rows_that_depend_on_each_other_are_not_served_under_adapters() -> None:
    spec = ModelSpec.model_validate({"path": "demo", "dtype": "float32", "device": "cpu"})
    family, folder = find_family(spec)
    int8 = family.decoder(folder, spec, VisionSpec(), WeightsSpec(method="bnb-int8"))
    assert isinstance(int8, PrefixDecoder)
    shelf = AdapterShelf(FOUR, TEXT)
    with pytest.raises(AdapterError, match="int8 looks for outliers over the whole batch"):
        shelf.on(int8)
    shelf.close()
