"""A tiny MiniCPM-V-2.6 whose code is ours, in the layout of the original checkpoint."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from encodeonce.models.families.minicpm_v import OLD_NAMES
from encodeonce.models.remote_code import PinnedCode
from tests.contracts.family import spec
from tests.tiny.longva import random_weights
from tests.tiny.parts import text_shape, tiny_tokenizer

CODE = Path(__file__).parent / "minicpm_v_code"
MARKS = ("<unk>", "<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>")
ENDS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VISION = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 8,
}
SLICES = {
    "max_slice_nums": 4,
    "scale_resolution": 32,
    "patch_size": 8,
    "slice_mode": True,
    "norm_mean": [0.5, 0.5, 0.5],
    "norm_std": [0.5, 0.5, 0.5],
    "use_image_id": True,
    "version": 2.6,
}


def write_tiny_minicpm_v(folder: Path, code: Path = CODE) -> Path:
    torch.manual_seed(0)
    for path in code.glob("*.py"):
        shutil.copyfile(path, folder / path.name)
    tokenizer = _write_tokenizer(folder)
    shape = {**text_shape(tokenizer), "hidden_size": 128}
    text = Qwen2Config(**shape, tie_word_embeddings=False)
    config = {
        **text.to_dict(),
        "model_type": "minicpmv",
        "version": 2.6,
        "architectures": ["MiniCPMV"],
        "auto_map": {"AutoModel": "modeling_minicpmv.MiniCPMV"},
        "vision_config": VISION,
        "query_num": 4,
        "drop_vision_last_layer": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(SLICES))
    save_file(_weights(folder, text), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _weights(folder: Path, text: Qwen2Config) -> dict[str, torch.Tensor]:
    code = PinnedCode(folder, spec(folder), OLD_NAMES)
    vision: Any = code.load("modeling_navit_siglip.SiglipVisionConfig")(**VISION)
    vision._attn_implementation = "eager"
    vpm = code.load("modeling_navit_siglip.SiglipVisionTransformer")(vision)
    vpm.encoder.layers = vpm.encoder.layers[:-1]
    resampler = code.load("resampler.Resampler")(
        num_queries=4, embed_dim=128, num_heads=1, kv_dim=64, adaptive=True
    )
    parts = {"vpm": vpm, "resampler": resampler, "llm": Qwen2ForCausalLM(text)}
    return {
        f"{name}.{key}": value
        for name, part in parts.items()
        for key, value in random_weights(part).items()
        if key in dict(part.named_parameters())
    }


def _write_tokenizer(folder: Path) -> Any:
    tokenizer = tiny_tokenizer({}, (*MARKS, *ENDS))
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    named = {
        "tokenizer_class": "MiniCPMVTokenizerFast",
        "auto_map": {"AutoTokenizer": ["", "tokenization_minicpmv_fast.MiniCPMVTokenizerFast"]},
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), **named}))
    return tokenizer
