"""Already quantised checkpoints, and models that are such checkpoints."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BitsAndBytesConfig,
    LlavaForConditionalGeneration,
    TorchAoConfig,
)

from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.checkpoint.rows import mixes_rows
from encodeonce.models.family import find_family
from encodeonce.models.quantization.grid import Grid, quantize
from encodeonce.models.quantization.method import check_weights
from encodeonce.models.quantization.registry import WeightsError
from encodeonce.models.spec import NONE, VisionSpec, WeightsSpec
from tests.contracts.family import Scene, media_info
from tests.fixtures.tiny_models import write_tiny_llava
from tests.models.quantization.making import make, spec
from tests.models.quantization.test_layouts import pack_rows

GRID = Grid(group_size=32)
IDS = torch.arange(4, 44)[None]
VIDEO = Scene("video", frames=(0, 2))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llava(tmp_path_factory.mktemp("base"), intermediate_size=128)


def with_config(base: Path, target: Path, config: Mapping[str, Any]) -> Path:
    """Copy a checkpoint, and declare its quantisation."""
    shutil.copytree(base, target)
    path = target / "config.json"
    stored = {**json.loads(path.read_text()), "quantization_config": config}
    path.write_text(json.dumps(stored))
    return target


def repacked(
    folder: Path, layout: Callable[[torch.Tensor], dict[str, torch.Tensor]], inside: str
) -> dict[str, torch.Tensor]:
    """Replace the weights of linear layers in a checkpoint; return what they are rounded to."""
    weights = load_file(folder / "model.safetensors")
    rounded = {}
    for name in [n for n in weights if inside in n and n.endswith("_proj.weight")]:
        weight = weights.pop(name)
        rounded[name] = quantize(weight, GRID).dense()
        stem = name.removesuffix("weight")
        weights |= {stem + part: tensor for part, tensor in layout(weight).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return rounded


def awq_gemm(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    codes = quantize(weight, GRID)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    return {
        "qweight": pack_rows(codes.codes.t(), 4, order),
        "qzeros": pack_rows(codes.zeros.t(), 4, order),
        "scales": codes.scales.t().contiguous(),
    }


def gptq(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    codes = quantize(weight, GRID)
    in_order = list(range(8))
    return {
        "qweight": pack_rows(codes.codes, 4, in_order).t().contiguous(),
        "qzeros": pack_rows(codes.zeros.t(), 4, in_order),
        "scales": codes.scales.t().contiguous(),
        "g_idx": torch.arange(weight.shape[1], dtype=torch.int32) // 32,
    }


FORMATS: dict[str, tuple[Any, dict[str, Any]]] = {
    "awq": (awq_gemm, {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}),
    "gptq": (
        gptq,
        {"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "gptq_v2"},
    ),
}


def language_logits(folder: Path, weights: WeightsSpec) -> torch.Tensor:
    family, path = find_family(spec(folder))
    check_weights(weights, spec(folder), path)
    vision = VisionSpec(tap="projected")
    decoder: Any = family.decoder(path, spec(folder), vision, weights=weights)
    return logits(decoder.model)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model(input_ids=IDS).logits)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_packed_checkpoints_are_read_without_a_library(
    name: str, base: Path, tmp_path: Path
) -> None:
    layout, config = FORMATS[name]
    packed = with_config(base, tmp_path / "packed", config)
    rounded = repacked(packed, layout, "language_model")
    plain = shutil.copytree(base, tmp_path / "rounded")
    weights = load_file(plain / "model.safetensors")
    save_file({**weights, **rounded}, plain / "model.safetensors", metadata={"format": "pt"})
    expected = language_logits(plain, NONE)
    variant = WeightsSpec(method="checkpoint", path=str(packed))
    assert torch.equal(language_logits(base, variant), expected)
    assert torch.equal(language_logits(packed, NONE), expected)
    if name == "awq":
        variant = WeightsSpec(method="awq", path=str(packed))
        assert torch.equal(language_logits(base, variant), expected)
    # Its tower is the model's: one entry in the store serves both.
    assert signature(packed) == signature(base)
    assert np.array_equal(features(packed), features(base))


def features(folder: Path) -> Any:
    family, path = find_family(spec(folder))
    vision = family.vision(path, spec(folder), VisionSpec(tap="projected"))
    tower = vision.load()
    found = vision.signature(VIDEO.info, VIDEO.indices)
    frames = VIDEO.frames(VIDEO.indices)
    return tower.encode(tower.preprocess(frames, found)).arrays["main"]


def signature(folder: Path, tap: str = "projected") -> str:
    family, path = find_family(spec(folder))
    vision = family.vision(path, spec(folder), VisionSpec(tap=tap))  # type: ignore[arg-type]
    return vision.signature(media_info("video", 40, 48, num_frames=4), range(4)).digest


def saved_by_transformers(base: Path, target: Path, config: Any) -> Path:
    model = LlavaForConditionalGeneration.from_pretrained(
        base, dtype=torch.float32, quantization_config=config, device_map={"": "cpu"}
    )
    model.save_pretrained(target)
    for path in base.glob("*"):
        if not (target / path.name).exists():
            shutil.copyfile(path, target / path.name)
    return target


OUTSIDE = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]


def bnb(outside: list[str], bits: int = 4) -> BitsAndBytesConfig:
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=outside)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=outside,
    )


def torchao(outside: list[str]) -> TorchAoConfig:
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=outside)


BY_TRANSFORMERS: dict[str, tuple[Callable[[], Any], str]] = {
    "bnb-nf4": (lambda: bnb(OUTSIDE), "bnb-nf4"),
    "bnb-int8": (lambda: bnb(OUTSIDE, bits=8), "bnb-int8"),
    "torchao": (lambda: torchao(OUTSIDE), "torchao-int8"),
}


@pytest.mark.parametrize("name", sorted(BY_TRANSFORMERS))
def test_checkpoints_that_transformers_wrote_are_what_is_quantised_while_loading(
    name: str, base: Path, tmp_path: Path
) -> None:
    config, method = BY_TRANSFORMERS[name]
    saved = saved_by_transformers(base, tmp_path / "saved", config())
    expected = language_logits(base, WeightsSpec(method=method))
    variant = WeightsSpec(method="checkpoint", path=str(saved))
    assert torch.equal(language_logits(base, variant), expected)
    assert torch.equal(language_logits(saved, NONE), expected)
    assert signature(saved) == signature(base)


def test_int8_that_is_stored_is_known_to_mix_rows(base: Path, tmp_path: Path) -> None:
    saved = saved_by_transformers(base, tmp_path / "saved", bnb(OUTSIDE, bits=8))
    family, folder = find_family(spec(base))
    for path, weights in ((base, WeightsSpec(method="checkpoint", path=str(saved))), (saved, NONE)):
        decoder: Any = family.decoder(path, spec(path), VisionSpec(), weights=weights)
        assert mixes_rows(decoder.model)


def test_a_tower_that_is_quantised_has_a_signature_of_its_own(base: Path, tmp_path: Path) -> None:
    without_head = ["lm_head"]
    saved = saved_by_transformers(base, tmp_path / "saved", bnb(without_head, bits=8))
    for tap in ("tower", "projected"):
        assert signature(saved, tap) != signature(base, tap)
    # It loads, and encodes other features than the model's.
    assert features(saved).shape == features(base).shape
    assert not np.array_equal(features(saved), features(base))
    family, folder = find_family(spec(saved))
    with pytest.raises(CheckpointError, match=r"vision\.micro_batch 2: .* int8"):
        family.vision(folder, spec(saved), VisionSpec(micro_batch=2)).load()
    # As a variant of the model its language side meets the model's own projector.
    variant = WeightsSpec(method="checkpoint", path=str(saved))
    family, folder = find_family(spec(base))
    vision = VisionSpec(tap="tower")
    plain: Any = family.decoder(folder, spec(base), vision)
    decoder: Any = family.decoder(folder, spec(base), vision, weights=variant)
    for name, value in plain.projector.state_dict().items():
        assert torch.equal(decoder.projector.state_dict()[name], value)


def test_a_tower_in_a_layout_that_is_read_for_language_models_alone_is_refused(
    base: Path, tmp_path: Path
) -> None:
    layout, config = FORMATS["gptq"]
    packed = with_config(base, tmp_path / "packed", config)
    repacked(packed, layout, "_proj")  # of tower and language model
    family, folder = find_family(spec(packed))
    vision = family.vision(folder, spec(packed), VisionSpec(tap="tower"))
    with pytest.raises(CheckpointError, match="vision_tower are quantised by gptq"):
        vision.load()
    with pytest.raises(CheckpointError, match="should be the language model's alone"):
        check_weights(NONE, spec(packed), folder)


def test_kinds_that_are_not_handled_are_refused_with_those_that_are(
    base: Path, tmp_path: Path
) -> None:
    other = with_config(base, tmp_path / "other", {"quant_method": "quip"})
    variant = WeightsSpec(method="checkpoint", path=str(other))
    with pytest.raises(WeightsError, match="quantised by quip.*Handled: awq, bitsandbytes, comp"):
        check_weights(variant, spec(base), base)
    gemv = {"quant_method": "awq", "bits": 4, "version": "gemv"}
    other = with_config(base, tmp_path / "gemv", gemv)
    variant = WeightsSpec(method="checkpoint", path=str(other))
    with pytest.raises(WeightsError, match="this one is gemv"):
        check_weights(variant, spec(base), base)


def test_our_own_checkpoints_have_the_models_signature(base: Path, tmp_path: Path) -> None:
    made = make(base, tmp_path / "awq").folder
    for tap in ("tower", "projected"):
        assert signature(made, tap) == signature(base, tap)
