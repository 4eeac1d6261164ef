"""A tiny LongVA in the layout of the original checkpoint: one file, LLaVA's names."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModel, Qwen2Config, Qwen2ForCausalLM

from tests.tiny.parts import text_shape, tiny_tokenizer

CLIP = CLIPVisionConfig(
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=1,
    image_size=32,
    patch_size=8,
)


def random_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: torch.randn(weight.shape) * 0.08 + (weight.dim() == 1) * 0.5
        for name, weight in module.state_dict().items()
        if weight.is_floating_point()
    }


def write_tiny_longva(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer({}, ("<|im_start|>", "<|im_end|>"))
    tokenizer.save_pretrained(folder)
    text = Qwen2Config(**text_shape(tokenizer), tie_word_embeddings=False)
    # The original's names: a vision_model between tower and layers, whatever transformers has.
    clip = {
        name if name.startswith("vision_model.") else f"vision_model.{name}": value
        for name, value in random_weights(CLIPVisionModel(CLIP)).items()
    }
    weights = random_weights(Qwen2ForCausalLM(text))
    weights |= {f"model.vision_tower.vision_tower.{name}": value for name, value in clip.items()}
    for name, shape in (
        ("0.weight", (64, 64)),
        ("0.bias", (64,)),
        ("2.weight", (64, 64)),
        ("2.bias", (64,)),
    ):
        weights[f"model.mm_projector.{name}"] = torch.randn(shape) * 0.08
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        **text.to_dict(),
        "model_type": "llava_qwen",
        "architectures": ["LlavaQwenForCausalLM"],
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "mm_vision_select_layer": -2,
        "mm_projector_type": "mlp2x_gelu",
        "mm_patch_merge_type": "unires",
        "image_aspect_ratio": "anyres",
        "image_grid_pinpoints": "[[32, 64], [64, 32], [64, 64]]",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder
