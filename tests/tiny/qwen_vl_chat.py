"""A tiny Qwen-VL-Chat whose code is ours, in the layout of the original checkpoint."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from encodeonce.models.remote_code import PinnedCode
from tests.contracts.family import spec
from tests.tiny.longva import random_weights

CODE = Path(__file__).parent / "qwen_vl_chat_code"
NUM_MERGED = 258
"""The 256 bytes, and two words made of them."""
IMAGE_START = NUM_MERGED + 3 + 205 + 6
CONFIG: dict[str, Any] = {
    "model_type": "qwen",
    "architectures": ["QWenLMHeadModel"],
    "auto_map": {"AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"},
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "kv_channels": 16,
    "layer_norm_epsilon": 1e-6,
    "rotary_emb_base": 10000,
    "rotary_pct": 1.0,
    "no_bias": True,
    "use_dynamic_ntk": True,
    "use_logn_attn": True,
    "seq_length": 512,
    "max_position_embeddings": 2048,
    "vocab_size": NUM_MERGED + 3 + 205 + 9,
    "visual": {
        "image_size": 32,
        "patch_size": 8,
        "width": 32,
        "layers": 2,
        "heads": 4,
        "mlp_ratio": 2.0,
        "n_queries": 4,
        "output_dim": 64,
        "image_start_id": IMAGE_START,
    },
}


def write_tiny_qwen_vl_chat(folder: Path) -> Path:
    torch.manual_seed(0)
    for path in CODE.glob("*.py"):
        shutil.copyfile(path, folder / path.name)
    merged = [*(bytes([n]) for n in range(256)), b"th", b"the"]
    lines = (f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(merged))
    (folder / "qwen.tiktoken").write_text("".join(lines), encoding="ascii")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "generation_config.json").write_text(json.dumps({"chat_format": "chatml"}))
    model = PinnedCode(folder, spec(folder)).load("modeling_qwen.QWenLMHeadModel")(CONFIG)
    weights = random_weights(model)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
