"""Writes `kvpress.npz`: the entries of some random tensors that kvpress's presses keep.

Not run by the suite: kvpress pins an older transformers. Run in an environment of its own, with
kvpress 0.5.5: ``python tests/models/kv/record_kvpress.py``.
"""

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kvpress import (
    AdaKVPress,
    ExpectedAttentionPress,
    KeyDiffPress,
    KnormPress,
    PyramidKVPress,
    SnapKVPress,
    StreamingLLMPress,
    TOVAPress,
)
from kvpress.utils import compute_n_kept
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
)

NUM_TOKENS, NUM_LAYERS, RATIOS = 160, 4, (0.7, 0.45)


def presses(ratio: float) -> dict[str, Any]:
    return {
        "knorm": KnormPress(ratio),
        "snapkv": SnapKVPress(ratio, window_size=8, kernel_size=5),
        "tova": TOVAPress(ratio),
        "expected_attention": ExpectedAttentionPress(ratio, n_future_positions=512, n_sink=4),
        "pyramidkv": PyramidKVPress(ratio, window_size=8, kernel_size=5, beta=4),
        "streaming_llm": StreamingLLMPress(ratio, n_sink=4),
        "keydiff": KeyDiffPress(ratio),
        "adakv": AdaKVPress(SnapKVPress(ratio, window_size=8, kernel_size=5), alpha_safeguard=0.2),
    }


def main() -> None:
    assert importlib.metadata.version("kvpress") == "0.5.5"
    config = LlamaConfig(
        hidden_size=64,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=16,
        num_hidden_layers=NUM_LAYERS,
        rope_theta=10000.0,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    rotary = LlamaRotaryEmbedding(config)
    arrays: dict[str, np.ndarray] = {}
    positions = torch.arange(NUM_TOKENS)[None]
    for layer in range(NUM_LAYERS):
        module = LlamaAttention(config, layer).eval()
        for parameter in module.parameters():  # sharp attention: scores that differ
            torch.nn.init.normal_(parameter, std=0.25)
        module.rotary_emb = rotary
        hidden = torch.randn(1, NUM_TOKENS, 64)
        with torch.no_grad():
            queries = module.q_proj(hidden).view(1, -1, 8, 16).transpose(1, 2)
            keys = module.k_proj(hidden).view(1, -1, 2, 16).transpose(1, 2)
            values = module.v_proj(hidden).view(1, -1, 2, 16).transpose(1, 2)
            cos, sin = rotary(hidden, positions)
            queries, keys = apply_rotary_pos_emb(queries, keys, cos, sin)
            for name, tensor in (("queries", queries), ("keys", keys), ("values", values)):
                arrays[f"{name}/{layer}"] = tensor[0].numpy()
            kwargs = {"position_embeddings": (cos, sin)}
            for ratio in RATIOS:
                for name, press in presses(ratio).items():
                    stays = kept(press, ratio, module, hidden, keys, values, kwargs)
                    arrays[f"{name}@{1 - ratio:.2f}/{layer}"] = stays.numpy()
    np.savez_compressed(Path(__file__).with_name("kvpress.npz"), **arrays)


def kept(press: Any, ratio: float, module: Any, hidden: Any, keys: Any, values: Any, kwargs: Any):
    """Return which entries stay, bool (K, N)."""
    stays = torch.zeros(keys.shape[1], NUM_TOKENS, dtype=torch.bool)
    if isinstance(press, AdaKVPress):
        press.compress(module, hidden, keys, values, None, kwargs)
        _, heads, tokens = module.masked_key_indices
        stays[:] = True
        stays[heads, tokens] = False
        return stays
    scores = press.score(module, hidden, keys, values, None, kwargs)[0]
    count = compute_n_kept(NUM_TOKENS, ratio)
    if isinstance(press, PyramidKVPress):
        count = press.get_layer_budget(module, NUM_TOKENS)
    return stays.scatter(1, scores.topk(count, dim=-1).indices, True)


if __name__ == "__main__":
    main()
