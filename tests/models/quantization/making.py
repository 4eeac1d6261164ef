"""Helpers: small language models with outlier channels, and quantised checkpoints of tiny VLMs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.quantization.grid import Grid
from encodeonce.models.quantization.making.calibration import Inputs
from encodeonce.models.quantization.making.make import Calibration, Made, make_quantized
from encodeonce.models.quantization.making.recipe import Recipe
from encodeonce.models.spec import ModelSpec

MODELS: dict[str, tuple[type[PreTrainedConfig], Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}
NORMS = ("input_layernorm", "post_attention_layernorm")


def spec(folder: Path | str, dtype: str = "float32") -> ModelSpec:
    return ModelSpec.model_validate({"path": str(folder), "dtype": dtype, "device": "cpu"})


def language_model(kind: str, num_key_value_heads: int = 4) -> Any:
    """Return a random model whose norms let a few channels through thirty times as large."""
    config_class, model_class = MODELS[kind]
    config = config_class(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=num_key_value_heads,
        head_dim=32,
        vocab_size=300,
    )
    torch.manual_seed(0)
    model = model_class(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    for layer in model.model.layers:
        for norm in NORMS:
            outliers = torch.randperm(128, generator=generator)[:4]
            getattr(layer, norm).weight[outliers] *= 30
        for linear in layer.modules():
            if isinstance(linear, nn.Linear) and linear.bias is not None:
                linear.bias.normal_(std=0.1, generator=generator)
    return model


def token_prompts(
    vocab_size: int, num_prompts: int, num_tokens: int, seed: int = 0
) -> Iterator[Inputs]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(num_prompts):
        ids = torch.randint(4, vocab_size, (1, num_tokens), generator=generator)
        yield {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def random_calibration(num_prompts: int = 4, num_tokens: int = 48) -> Calibration:
    def prompts(decoder: PrefixDecoder) -> Iterator[Inputs]:
        return token_prompts(len(decoder.tokenizer), num_prompts, num_tokens)

    return Calibration(description={"random": num_prompts}, prompts=prompts)


def make(
    folder: Path, target: Path, method: str = "awq", dtype: str = "float32", **grid: Any
) -> Made:
    """Quantise a checkpoint in groups of 32."""
    recipe = Recipe(method=method, grid=Grid(**{"group_size": 32, **grid}))  # type: ignore[arg-type]
    return make_quantized(
        spec(folder, dtype), recipe, random_calibration(), target, lambda done, total: None
    )
