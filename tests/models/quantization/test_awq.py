"""AWQ on layers: what it keeps, what it gains, what it refuses."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Gemma2Config, Gemma2ForCausalLM, OPTConfig, OPTForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP

from encodeonce.models.checkpoint.decoder_layers import decoder_layers, linears
from encodeonce.models.quantization.grid import Grid, dense_linear, rounded
from encodeonce.models.quantization.layouts.compressed_tensors import PackQuantized
from encodeonce.models.quantization.making.awq import check_layer, clip, scale
from encodeonce.models.quantization.making.calibration import (
    Inputs,
    advance,
    advance_and_see,
    capture,
)
from encodeonce.models.quantization.making.recipe import (
    Progress,
    Recipe,
    fitting_grid,
    quantize_layers,
)
from encodeonce.models.quantization.registry import WeightsError
from tests.models.quantization.making import MODELS, language_model, token_prompts
from tests.models.quantization.test_layouts import settings

GRID = Grid(group_size=32)


def prompts() -> Iterator[Inputs]:
    return token_prompts(300, num_prompts=4, num_tokens=64)


def logits(model: Any) -> torch.Tensor:
    (inputs,) = token_prompts(300, 1, 64, seed=9)
    with torch.inference_mode():
        return torch.as_tensor(model(**inputs).logits)


def error(model: Any, reference: torch.Tensor) -> float:
    return float((logits(model) - reference).norm() / reference.norm())


def quantized(model: Any, folder: Path, recipe: Recipe) -> Any:
    """Return a copy of a model with the weights that the recipe makes."""
    work = copy.deepcopy(model)
    progress = Progress(folder, {})
    quantize_layers(work, recipe, prompts, progress, lambda done, total: None)
    return with_layers(model, folder, recipe.grid)


def with_layers(model: Any, folder: Path, grid: Grid) -> Any:
    layout = PackQuantized(settings(grid))
    result = copy.deepcopy(model)
    for number, layer in enumerate(decoder_layers(result)):
        stored = load_file(folder / f"layer-{number:05}.safetensors")
        for name, linear in linears(layer).items():
            parts = {part: stored.pop(f"{name}.{part}", None) for part in layout.names}
            codes = layout.unpack({k: v for k, v in parts.items() if v is not None})
            bias = stored.get(f"{name}.bias", linear.bias)
            layer.set_submodule(name, dense_linear(codes.dense(), bias))
        layer.load_state_dict(stored, strict=False)
    return result


@pytest.mark.parametrize("kind", sorted(MODELS))
@pytest.mark.parametrize("num_key_value_heads", [2, 4])
def test_awq_is_closer_than_rounding_where_channels_stand_out(
    kind: str, num_key_value_heads: int, tmp_path: Path
) -> None:
    model = language_model(kind, num_key_value_heads)
    reference = logits(model)
    rtn = quantized(model, tmp_path / "rtn", Recipe(method="rtn", grid=GRID))
    scaled = quantized(model, tmp_path / "scaled", Recipe(method="awq", grid=GRID, clips=False))
    awq = quantized(model, tmp_path / "awq", Recipe(method="awq", grid=GRID))
    assert error(scaled, reference) < 0.9 * error(rtn, reference)
    assert error(awq, reference) < 0.85 * error(rtn, reference)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_scaling_alone_changes_nothing_but_the_weights(kind: str) -> None:
    model = language_model(kind)
    reference = logits(model)
    captured = capture(model, prompts())
    before = copy.deepcopy(model.state_dict())
    for number, layer in enumerate(decoder_layers(model)):
        seen = advance_and_see(layer, number, captured)
        scale(layer, seen, GRID, num_tokens=64)
        for name, linear in linears(layer).items():
            # What was seen is scaled as the weights are, so that clipping sees what will be.
            assert torch.allclose(
                seen.inputs[name][0], inputs_of(layer, name, number, model), atol=1e-3, rtol=1e-3
            ), name
            assert linear.weight.dtype is torch.float32
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert {n.split(".")[-2] for n in changed} >= {"input_layernorm", "q_proj", "v_proj", "o_proj"}
    assert error(model, reference) < 1e-4


def inputs_of(layer: nn.Module, name: str, number: int, model: Any) -> torch.Tensor:
    """Return the inputs of a linear layer of the current model on the first prompt."""
    found: list[torch.Tensor] = []
    hook = layer.get_submodule(name).register_forward_pre_hook(
        lambda _, args: found.append(args[0].flatten(0, -2))
    )
    with torch.inference_mode():
        model(**next(prompts()))
    hook.remove()
    return found[0]


def test_clipping_lowers_the_error_of_the_output() -> None:
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(64, 32, bias=False).requires_grad_(False)
    linear.weight.normal_(std=0.1, generator=generator)
    linear.weight[:, 7] *= 12
    x = torch.randn(256, 64, generator=generator)
    expected = x @ linear.weight.t()
    plain = (x @ rounded(linear.weight, GRID).t() - expected).norm()
    before = linear.weight.clone()
    clip(linear, [x[:100], x[100:]], GRID)
    clipped = (x @ rounded(linear.weight, GRID).t() - expected).norm()
    assert clipped < plain
    largest = before.unflatten(1, (-1, 32)).abs().amax(-1)
    limit = linear.weight.unflatten(1, (-1, 32)).abs().amax(-1)
    assert bool((limit <= largest).all())
    assert bool((limit >= 0.5 * largest).all())


def test_captured_prompts_go_through_the_layers_as_through_the_model() -> None:
    model = language_model("qwen2")
    captured = capture(model, prompts())
    for number, layer in enumerate(decoder_layers(model)):
        advance(layer, number, captured)
    (inputs,) = list(prompts())[:1]
    with torch.inference_mode():
        expected = model.model(**inputs).last_hidden_state
        assert torch.equal(model.model.norm(captured[0].hidden), expected)


def test_layers_that_scales_cannot_be_folded_into_are_refused() -> None:
    gemma = Gemma2ForCausalLM(
        Gemma2Config(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            vocab_size=50,
        )
    )
    with pytest.raises(WeightsError, match="input_layernorm of Gemma2DecoderLayer does not"):
        check_layer(decoder_layers(gemma)[0])
    opt = OPTForCausalLM(
        OPTConfig(
            hidden_size=32,
            ffn_dim=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            vocab_size=50,
            word_embed_proj_dim=32,
        )
    )
    with pytest.raises(WeightsError, match="OPTDecoderLayer has no input_layernorm"):
        check_layer(decoder_layers(opt)[0])


def test_a_layer_that_is_connected_otherwise_is_refused(tmp_path: Path) -> None:
    model = language_model("llama")

    class WithWayAround(LlamaMLP):
        """The norm's output also goes elsewhere: dividing its weight changes that."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(super().forward(x) + 3 * x)

    model.model.layers[1].mlp.__class__ = WithWayAround
    with pytest.raises(WeightsError, match="changed the output of layer 1 by"):
        quantized(model, tmp_path / "layers", Recipe(method="awq", grid=GRID))


def test_finished_layers_are_not_done_again_and_give_the_same_result(tmp_path: Path) -> None:
    model = language_model("llama")
    recipe = Recipe(method="awq", grid=GRID)
    quantized(model, tmp_path / "whole", recipe)

    class Stopped(Exception):
        pass

    def stop_after_one(done: int, total: int) -> None:
        raise Stopped

    progress = Progress(tmp_path / "parts", {"recipe": "the same"})
    with pytest.raises(Stopped):
        quantize_layers(copy.deepcopy(model), recipe, prompts, progress, stop_after_one)
    assert [progress.is_done(number) for number in range(3)] == [True, False, False]
    first = progress.path(0).stat().st_mtime_ns
    seen: list[int] = []
    progress = Progress(tmp_path / "parts", {"recipe": "the same"})
    quantize_layers(
        copy.deepcopy(model), recipe, prompts, progress, lambda done, total: seen.append(done)
    )
    assert seen == [1, 2, 3]
    assert progress.path(0).stat().st_mtime_ns == first
    for number in range(3):
        whole = load_file(tmp_path / "whole" / progress.path(number).name)
        parts = load_file(progress.path(number))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with pytest.raises(WeightsError, match="quantised otherwise"):
        Progress(tmp_path / "parts", {"recipe": "another"})


def test_groups_become_smaller_where_they_do_not_divide_the_widths() -> None:
    model = language_model("llama")  # 128 and 256
    assert fitting_grid(model, Grid(group_size=128)).group_size == 128
    assert fitting_grid(model, Grid(group_size=256)).group_size == 128
    assert fitting_grid(model, Grid(group_size=512, symmetric=True)) == Grid(symmetric=True)
    with pytest.raises(WeightsError, match=r"no group size up to 12 .* \(128, 256\)"):
        fitting_grid(model, Grid(group_size=12))
