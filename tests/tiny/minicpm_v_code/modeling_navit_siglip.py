"""Stands in for the tower that comes with MiniCPM-V-2.6: the same names, arguments and weights.

Positions of a tile's patches are looked up by where they lie in it, from 0 to 1.
"""

from types import SimpleNamespace

import torch
from torch import nn
from transformers import PretrainedConfig


class SiglipVisionConfig(PretrainedConfig):
    model_type = "siglip_vision_model"

    def __init__(
        self,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=56,
        patch_size=8,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.image_size = image_size
        self.patch_size = patch_size


class SiglipVisionTransformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        assert config._attn_implementation == "eager"
        self.embeddings = Embeddings(config)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.post_layernorm = nn.LayerNorm(config.hidden_size)

    def forward(self, pixel_values, patch_attention_mask=None, tgt_sizes=None):
        hidden = self.embeddings(pixel_values, tgt_sizes)
        padding = None if patch_attention_mask is None else ~patch_attention_mask.flatten(1)
        for layer in self.encoder.layers:
            hidden = layer(hidden, padding)
        return SimpleNamespace(last_hidden_state=self.post_layernorm(hidden))


class Embeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.side = config.image_size // config.patch_size
        self.patch_embedding = nn.Conv2d(
            3, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size
        )
        self.position_embedding = nn.Embedding(self.side**2, config.hidden_size)

    def forward(self, pixel_values, tgt_sizes):
        embedded = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        for row, (height, width) in zip(embedded, tgt_sizes.tolist(), strict=True):
            down = torch.arange(height) * self.side // height
            across = torch.arange(width) * self.side // width
            places = (down[:, None] * self.side + across).flatten()
            row[: len(places)] += self.position_embedding(places)
        return embedded


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.hidden_size
        self.self_attn = nn.MultiheadAttention(width, config.num_attention_heads, batch_first=True)
        self.layer_norm1 = nn.LayerNorm(width)
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, config.intermediate_size),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.intermediate_size, width),
        )

    def forward(self, hidden, padding):
        normed = self.layer_norm1(hidden)
        hidden = hidden + self.self_attn(normed, normed, normed, key_padding_mask=padding)[0]
        return hidden + self.mlp(self.layer_norm2(hidden))
