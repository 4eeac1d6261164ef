"""Stands in for the tower that comes with Qwen-VL-Chat: the same arguments and weights' names."""

import torch
from torch import nn


class VisionTransformer(nn.Module):
    def __init__(
        self, image_size, patch_size, width, layers, heads, mlp_ratio, n_queries, output_dim, **_
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size, bias=False)
        patches = (image_size // patch_size) ** 2
        self.positional_embedding = nn.Parameter(torch.zeros(patches, width))
        self.ln_pre = nn.LayerNorm(width, eps=1e-6)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(
            Block(width, heads, int(width * mlp_ratio)) for _ in range(layers)
        )
        self.attn_pool = Resampler(n_queries, output_dim, width)
        self.ln_post = nn.LayerNorm(output_dim, eps=1e-6)
        self.proj = nn.Parameter(torch.zeros(output_dim, output_dim))

    def forward(self, x):
        # Alone, so that no bit of a picture depends on which others are beside it.
        return torch.cat([self.one(picture[None]) for picture in x])

    def one(self, x):
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = self.ln_pre(x + self.positional_embedding)
        for block in self.transformer.resblocks:
            x = block(x)
        return self.ln_post(self.attn_pool(x)) @ self.proj


class Block(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.Module()
        self.attn.in_proj = nn.Linear(width, 3 * width)
        self.attn.out_proj = nn.Linear(width, width)
        self.mlp = nn.Module()
        self.mlp.c_fc = nn.Linear(width, inner)
        self.mlp.c_proj = nn.Linear(inner, width)

    def forward(self, x):
        by_head = self.attn.in_proj(self.ln_1(x)).unflatten(-1, (self.heads, 3, -1))
        query, key, value = by_head.permute(3, 0, 2, 1, 4)  # three of (N, heads, patches, width)
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.attn.out_proj(seen.transpose(1, 2).flatten(2))
        return x + self.mlp.c_proj(nn.functional.gelu(self.mlp.c_fc(self.ln_2(x))))


class Resampler(nn.Module):
    def __init__(self, num_queries, width, inner_width):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(num_queries, width), requires_grad=False)
        self.query = nn.Parameter(torch.zeros(num_queries, width))
        self.kv_proj = nn.Linear(inner_width, width, bias=False)
        self.attn = nn.MultiheadAttention(width, width // 32, batch_first=True)
        self.ln_q = nn.LayerNorm(width, eps=1e-6)
        self.ln_kv = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x):
        x = self.ln_kv(self.kv_proj(x))
        query = (self.ln_q(self.query) + self.pos_embed).expand(len(x), -1, -1)
        places = self.pos_embed.repeat_interleave(x.shape[1] // len(self.pos_embed), dim=0)
        return self.attn(query, x + places, x)[0]
