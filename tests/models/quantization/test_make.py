"""Quantised checkpoints: plain transformers loads them, and their tower is the model's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoModelForImageTextToText,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from encodeonce.models.checkpoint.files import weights_digest
from encodeonce.models.family import find_family
from encodeonce.models.quantization.grid import Grid
from encodeonce.models.quantization.made_here import ORIGIN_FILE
from encodeonce.models.quantization.making.export import INDEX
from encodeonce.models.quantization.making.make import UNFINISHED, make_quantized
from encodeonce.models.quantization.making.recipe import Recipe
from encodeonce.models.quantization.method import check_weights
from encodeonce.models.quantization.registry import WeightsError
from encodeonce.models.spec import VisionSpec, WeightsSpec
from tests.fixtures.tiny.qwen_vl import write_tiny_qwen3_vl
from tests.fixtures.tiny.vila import write_tiny_vila
from tests.fixtures.tiny_models import write_tiny_llava
from tests.models.quantization.making import make, random_calibration, spec

IDS = torch.arange(4, 44)[None]
Write = Callable[[Path], Path]


def llava_on(text_class: type[PreTrainedConfig]) -> Write:
    return lambda folder: write_tiny_llava(folder, text_class=text_class)


VLMS = {
    "llama": llava_on(LlamaConfig),
    "qwen2": llava_on(Qwen2Config),
    "qwen3": llava_on(Qwen3Config),
    "qwen3-vl": write_tiny_qwen3_vl,
}


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model(input_ids=IDS).logits)


def ours(base: Path, weights: WeightsSpec, dtype: str = "float32") -> torch.Tensor:
    family, folder = find_family(spec(base, dtype))
    check_weights(weights, spec(base, dtype), folder)
    vision = VisionSpec(tap="projected")
    decoder: Any = family.decoder(folder, spec(base, dtype), vision, weights=weights)
    return logits(decoder.model)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("kind", sorted(VLMS))
def test_plain_transformers_computes_the_bits_that_we_do(
    kind: str, symmetric: bool, tmp_path: Path
) -> None:
    base = VLMS[kind](tmp_path / "base")
    target = tmp_path / "awq"
    make(base, target, symmetric=symmetric)
    plain = AutoModelForImageTextToText.from_pretrained(target, dtype=torch.float32).eval()
    found = logits(plain)
    assert torch.equal(found, ours(base, WeightsSpec(method="awq", path=str(target))))
    assert torch.equal(found, ours(target, WeightsSpec()))
    assert torch.equal(found, ours(base, WeightsSpec(method="checkpoint", path=str(target))))
    assert not torch.equal(found, ours(base, WeightsSpec()))


def test_in_bfloat16_too(tmp_path: Path) -> None:
    base = write_tiny_llava(tmp_path / "base")
    make(base, tmp_path / "awq", dtype="bfloat16")
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "awq", dtype=torch.bfloat16)
    weights = WeightsSpec(method="awq", path=str(tmp_path / "awq"))
    assert torch.equal(logits(plain.eval()), ours(base, weights, "bfloat16"))
    with_kernel = weights.model_copy(update={"options": {"kernel": "int4"}})
    found = ours(base, with_kernel, "bfloat16")
    reference = ours(base, weights, "bfloat16")
    assert float((found - reference).norm() / reference.norm()) < 0.02


def test_rounding_on_the_fly_is_what_is_written(tmp_path: Path) -> None:
    base = write_tiny_llava(tmp_path / "base")
    make(base, tmp_path / "rtn", method="rtn")
    on_the_fly = WeightsSpec(method="rtn", options={"group_size": 32})
    written = WeightsSpec(method="rtn", path=str(tmp_path / "rtn"))
    assert torch.equal(ours(base, on_the_fly), ours(base, written))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            found.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return found


def test_everything_but_the_decoder_layers_is_copied_bit_for_bit(tmp_path: Path) -> None:
    base = write_tiny_llava(tmp_path / "base", num_hidden_layers=3)
    make(base, tmp_path / "awq")
    before, after = tensors(base), tensors(tmp_path / "awq")
    in_layers = {name for name in before if "language_model.model.layers." in name}
    assert len(in_layers) == 3 * 9
    for name, value in before.items():
        if name not in in_layers:
            assert torch.equal(value, after.pop(name)), name
    assert all("language_model.model.layers." in name for name in after)
    assert sum(name.endswith(".weight_packed") for name in after) == 3 * 7
    for part in ("vision_tower", "multi_modal_projector"):
        assert weights_digest(base, [part]) == weights_digest(tmp_path / "awq", [part])
    assert {path.name for path in base.iterdir()} <= {
        path.name for path in (tmp_path / "awq").iterdir()
    }


def test_the_checkpoint_says_how_it_was_made(tmp_path: Path) -> None:
    base = write_tiny_llava(tmp_path / "base")
    made = make(base, tmp_path / "awq", group_size=128)
    assert made.recipe.grid.group_size == 32  # the widths are 64, 32 and 96
    origin = json.loads((tmp_path / "awq" / ORIGIN_FILE).read_text())
    assert origin["method"] == "awq"
    assert origin["grid"] == {"num_bits": 4, "group_size": 32, "symmetric": False}
    assert origin["calibration"] == {"random": 4}
    card = (tmp_path / "awq" / "README.md").read_text()
    assert "4 bits; 32 inputs share a scale" in card
    assert "AWQ" in card
    stored = json.loads((tmp_path / "awq" / "config.json").read_text())["quantization_config"]
    assert stored["format"] == "pack-quantized"
    assert stored["ignore"] == [
        r"re:.*\bvision_tower\..*",
        r"re:.*\bmulti_modal_projector\..*",
        "lm_head",
    ]
    assert not (tmp_path / "awq" / UNFINISHED).exists()


def test_a_checkpoint_in_several_files_stays_in_several_files(tmp_path: Path) -> None:
    base = write_tiny_llava(tmp_path / "base")
    whole = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    (base / "model.safetensors").unlink()
    whole.save_pretrained(base, max_shard_size="200KB")
    assert len(list(base.glob("*.safetensors"))) > 2
    make(base, tmp_path / "awq")
    index = json.loads((tmp_path / "awq" / INDEX).read_text())
    found = tensors(tmp_path / "awq")
    assert set(index["weight_map"]) == set(found)
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in found.values())
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "awq", dtype=torch.float32)
    weights = WeightsSpec(method="awq", path=str(tmp_path / "awq"))
    assert torch.equal(logits(plain.eval()), ours(base, weights))


def test_a_model_put_together_from_parts_is_quantised_in_its_own_layout(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    base = write_tiny_vila(tmp_path / "base")
    make(base, tmp_path / "awq")
    assert (tmp_path / "awq" / "llm" / ORIGIN_FILE).exists()
    towers = [folder / "vision_tower" for folder in (base, tmp_path / "awq")]
    assert len({weights_digest(tower, ["vision_model"]) for tower in towers}) == 1
    weights = WeightsSpec(method="awq", path=str(tmp_path / "awq"))
    found = ours(base, weights)
    assert torch.equal(found, ours(tmp_path / "awq", WeightsSpec()))
    plain = LlamaForCausalLM.from_pretrained(tmp_path / "awq" / "llm", dtype=torch.float32).eval()
    assert torch.equal(found, logits(plain))


def test_repeating_the_command_goes_on_and_another_one_is_refused(tmp_path: Path) -> None:
    base, target = write_tiny_llava(tmp_path / "base"), tmp_path / "awq"
    recipe = Recipe(method="awq", grid=Grid(group_size=32))

    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        make_quantized(spec(base), recipe, random_calibration(), target, stop)
    assert [path.name for path in target.iterdir()] == [UNFINISHED]
    other = Recipe(method="awq", grid=Grid(group_size=16))
    with pytest.raises(WeightsError, match="quantised otherwise"):
        make_quantized(spec(base), other, random_calibration(), target, stop)
    make(base, target)
    make(base, tmp_path / "in one go")
    assert (target / "model.safetensors").read_bytes() == (
        tmp_path / "in one go" / "model.safetensors"
    ).read_bytes()
    with pytest.raises(WeightsError, match="is not empty"):
        make(base, target)


def test_calibration_is_asked_for(tmp_path: Path) -> None:
    base = write_tiny_llava(tmp_path / "base")
    recipe = Recipe(method="awq", grid=Grid(group_size=32))
    with pytest.raises(WeightsError, match="awq needs calibration: give --text or --run"):
        make_quantized(spec(base), recipe, None, tmp_path / "awq", lambda done, total: None)


def test_what_is_quantised_is_not_quantised_again(tmp_path: Path) -> None:
    base = write_tiny_llava(tmp_path / "base")
    make(base, tmp_path / "rtn", method="rtn")
    with pytest.raises(WeightsError, match="quantised already"):
        make(tmp_path / "rtn", tmp_path / "again")
