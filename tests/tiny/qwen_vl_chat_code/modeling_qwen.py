"""Stands in for the model that comes with Qwen-VL-Chat: a Qwen with a ``visual`` inside.

One pass over a whole prompt, without a cache. Never run by encodeonce, only by its test.
"""

import torch
from torch import nn

from .visual import VisionTransformer


class QWenLMHeadModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.wte = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.transformer.h = nn.ModuleList(
            Block(config) for _ in range(config["num_hidden_layers"])
        )
        self.transformer.ln_f = Norm(config)
        self.transformer.visual = VisionTransformer(**config["visual"])
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        self.image_start = config["visual"]["image_start_id"]

    def forward(self, input_ids, pixels):
        """Return logits (1, N, V); each picture's features lie between its two marks."""
        hidden = self.transformer.wte(input_ids)
        images = self.transformer.visual(pixels)
        starts = (input_ids[0] == self.image_start).nonzero()[:, 0].tolist()
        for start, image in zip(starts, images, strict=True):
            hidden[0, start + 1 : start + 1 + len(image)] = image
        for block in self.transformer.h:
            hidden = block(hidden)
        return self.lm_head(self.transformer.ln_f(hidden))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"] // 2
        self.heads, self.base = config["num_attention_heads"], config["rotary_emb_base"]
        self.ln_1, self.ln_2 = Norm(config), Norm(config)
        self.attn = nn.Module()
        self.attn.c_attn = nn.Linear(width, 3 * width)
        self.attn.c_proj = nn.Linear(width, width, bias=False)
        self.mlp = nn.Module()
        self.mlp.w1 = nn.Linear(width, inner, bias=False)
        self.mlp.w2 = nn.Linear(width, inner, bias=False)
        self.mlp.c_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        query, key, value = (
            one.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for one in self.attn.c_attn(self.ln_1(x)).chunk(3, dim=-1)
        )
        scores = self.turned(query) @ self.turned(key).transpose(-1, -2) / query.shape[-1] ** 0.5
        scores = scores + torch.full(scores.shape[-2:], float("-inf")).triu(1)
        x = x + self.attn.c_proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
        inner = self.ln_2(x)
        gated = self.mlp.w1(inner) * nn.functional.silu(self.mlp.w2(inner))
        return x + self.mlp.c_proj(gated)

    def turned(self, x):
        """Rotary positions, halves apart."""
        half = x.shape[-1] // 2
        rates = 1.0 / self.base ** (torch.arange(half) / half)
        angles = torch.arange(x.shape[-2])[:, None] * rates
        one, two = x[..., :half], x[..., half:]
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1)


class Norm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config["hidden_size"]))
        self.eps = config["layer_norm_epsilon"]

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight
