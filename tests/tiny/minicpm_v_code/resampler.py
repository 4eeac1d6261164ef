"""Stands in for the resampler that comes with MiniCPM-V-2.6: the same arguments and weights.

Like the original it uses ``List``, ``DType`` and ``math`` without importing them: torch once
handed them on.
"""

import torch
from torch import nn


class Resampler(nn.Module):
    def __init__(self, num_queries, embed_dim, num_heads, kv_dim=None, adaptive=False):
        super().__init__()
        assert adaptive
        self.query = nn.Parameter(torch.zeros(num_queries, embed_dim))
        self.kv_proj = nn.Linear(kv_dim, embed_dim, bias=False)
        self.attn = nn.MultiheadAttention(embed_dim, num_heads)
        self.ln_q = nn.LayerNorm(embed_dim, eps=1e-6)
        self.ln_kv = nn.LayerNorm(embed_dim, eps=1e-6)
        self.ln_post = nn.LayerNorm(embed_dim, eps=1e-6)
        self.proj = nn.Parameter(torch.zeros(embed_dim, embed_dim))
        self.register_buffer("pos_embed", positions(70, embed_dim), persistent=False)

    def forward(self, x, tgt_sizes=None):
        lengths = tgt_sizes.prod(dim=1)
        padding = torch.arange(int(lengths.max())) >= lengths[:, None]
        places = torch.zeros(len(x), int(lengths.max()), x.shape[-1] * 0 + self.query.shape[1])
        for row, (height, width) in zip(places, tgt_sizes.tolist(), strict=True):
            row[: height * width] = self.pos_embed[:height, :width].flatten(0, 1)
        values = self.ln_kv(self.kv_proj(x)).permute(1, 0, 2)
        keys = values + places.to(values.dtype).permute(1, 0, 2)
        queries = self.ln_q(self.query)[:, None].expand(-1, len(x), -1)
        found = self.attn(queries, keys, values, key_padding_mask=padding)[0]
        return self.ln_post(found.permute(1, 0, 2)) @ self.proj


def positions(side: int, width: int, names: List[str] = ()) -> torch.Tensor:  # noqa: F821
    dtype: DType = torch.float32  # noqa: F821
    rate = torch.exp(-math.log(10000.0) * torch.arange(width // 4, dtype=dtype) / (width // 4))  # noqa: F821
    angles = torch.arange(side, dtype=dtype)[:, None] * rate
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    across, down = waves[None].expand(side, -1, -1), waves[:, None].expand(-1, side, -1)
    return torch.cat([across, down], dim=-1)
