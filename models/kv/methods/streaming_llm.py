"""StreamingLLM: the first tokens, where attention sinks, and the last ones stay.

Xiao et al., Efficient Streaming Language Models with Attention Sinks, 2023 (arXiv:2309.17453),
sec. 3.2. Entries keep their positions; the paper counts positions within the cache.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field

from encodeonce.models.kv.method import KVMethod
from encodeonce.models.kv.selection import Selection, uniform_count
from encodeonce.models.kv.statistics import PromptStatistics


class StreamingLLM(KVMethod):
    """Chooses by position alone."""

    display_name: ClassVar[str] = "StreamingLLM"

    num_sinks: int = Field(default=4, ge=0, description="First tokens that always stay.")

    def plan(self, prompt: PromptStatistics, keep: float) -> Sequence[Selection]:
        """Keep the same tokens in every layer and head."""
        total = prompt.num_tokens
        count = uniform_count(total, keep)
        num_first = min(self.num_sinks, count)
        first = torch.arange(num_first)
        last = torch.arange(total - (count - num_first), total)
        chosen = torch.cat([first, last]).to(prompt.is_visual.device)
        return [chosen.expand(layer.num_kv_heads, -1) for layer in prompt.layers]


METHOD = StreamingLLM
