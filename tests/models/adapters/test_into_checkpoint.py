"""Adapters merged into whole checkpoints: the language model's, and the tower's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.into_checkpoint import ORIGIN, merge_adapter
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.family import find_family
from encodeonce.models.spec import ModelSpec, VisionSpec
from tests.contracts.family import Scene, media_info
from tests.fixtures.tiny_models import write_tiny_llava
from tests.models.adapters.made import factors, read, write

LANGUAGE = "model.language_model.layers.0.self_attn.q_proj"
TOWER = "encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llava(tmp_path_factory.mktemp("base"))


def loaded(folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder).eval()


def adapter_of(model: Any, folder: Path, path: str) -> Path:
    end = path.rpartition("encoder.")[2] if "vision" in path else path
    (module,) = [
        part
        for name, part in model.named_modules()
        if name.endswith(end) and ("vision" in name) == ("vision" in path)
    ]
    widths = {path: (module.in_features, module.out_features)}
    return write(folder, factors(widths, 4, seed=1))


def signature(folder: Path) -> str:
    spec = ModelSpec(path=str(folder), dtype="float32", device="cpu")
    family, found = find_family(spec)
    vision = family.vision(found, spec, VisionSpec())
    scene = Scene("image")
    return vision.signature(media_info("image", *scene.size, num_frames=1), [0]).digest


def test_the_checkpoint_answers_as_base_and_adapter_do(base: Path, tmp_path: Path) -> None:
    model = loaded(base)
    folder = adapter_of(model, tmp_path / "adapter", LANGUAGE)
    merged = merge_adapter(AdapterSpec(path=str(folder)), ModelSpec(path=str(base)), tmp_path / "m")
    assert merged.modules == (LANGUAGE,)
    ids = torch.arange(10, 20)[None]
    with torch.inference_mode():
        plain, found = model(input_ids=ids).logits, loaded(tmp_path / "m")(input_ids=ids).logits
        with AdapterBank([read(folder)], model).using(0):
            expected = model(input_ids=ids).logits
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (found - plain).abs().max() > 1e-3
    assert signature(tmp_path / "m") == signature(base), "features of the base are its own"
    assert (tmp_path / "m" / ORIGIN).exists() and "adapter" in (
        tmp_path / "m/README.md"
    ).read_text()
    with pytest.raises(AdapterError, match="not empty"):
        merge_adapter(AdapterSpec(path=str(folder)), ModelSpec(path=str(base)), tmp_path / "m")


@pytest.mark.parametrize("before", ["model.vision_tower.", "vision_tower.vision_model."])
def test_an_adapted_tower_has_features_of_its_own(base: Path, tmp_path: Path, before: str) -> None:
    """Whether transformers 5 or 4 gave the names."""
    folder = adapter_of(loaded(base), tmp_path / "adapter", before + TOWER)
    merged = merge_adapter(AdapterSpec(path=str(folder)), ModelSpec(path=str(base)), tmp_path / "m")
    assert len(merged.modules) == 1 and "vision" in merged.modules[0]
    assert signature(tmp_path / "m") != signature(base)


def test_names_of_older_transformers_are_understood(base: Path, tmp_path: Path) -> None:
    model = loaded(base)
    old = "language_model.model.layers.0.self_attn.q_proj"
    widths = {old: (64, 64)}
    folder = write(tmp_path / "adapter", factors(widths, 4))
    merged = merge_adapter(AdapterSpec(path=str(folder)), ModelSpec(path=str(base)), tmp_path / "m")
    assert merged.modules == (LANGUAGE,)
    assert LANGUAGE in dict(model.named_modules())


def test_layers_of_no_model_are_refused(base: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", factors({"model.layers.7.self_attn.q_proj": (64, 64)}, 4))
    with pytest.raises(AdapterError, match="which the model does not have"):
        merge_adapter(AdapterSpec(path=str(folder)), ModelSpec(path=str(base)), tmp_path / "m")
    wide = write(tmp_path / "b", factors({LANGUAGE: (32, 64)}, 4))
    with pytest.raises(AdapterError, match="64 inputs and 64 outputs in the model, and 32"):
        merge_adapter(AdapterSpec(path=str(wide)), ModelSpec(path=str(base)), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_head_that_is_the_embeddings_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", factors({"lm_head": (256, 512)}, 4))
    with pytest.raises(AdapterError, match="shares its weights with the embeddings"):
        merge_adapter(AdapterSpec(path=str(folder)), ModelSpec(path="demo"), tmp_path / "m")
