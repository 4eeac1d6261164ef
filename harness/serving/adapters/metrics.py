"""The metrics that systems for several adapters publish, beside those of `metrics.py`.

As S-LoRA's and VaLoRA's benchmarks have them: average token latency is the mean time of a request
over the mean number of its tokens, prompt and picture included.
"""

from collections.abc import Sequence
from typing import Any

from encodeonce.harness.serving.metrics import Served

FIRST_S = 6.0
"""Seconds to a first token after which their satisfaction is 0."""


def under_adapters(
    requests: Sequence[Served], num_prompt_tokens: Sequence[int], warmup: int
) -> dict[str, Any]:
    """Return the metrics of a workload as plain JSON values; zeros where nobody was answered.

    Args:
        requests: all, in order of number.
        num_prompt_tokens: of each, visual tokens included.
        warmup: how many of the first are part of the load only.
    """
    some = [
        (one, length)
        for one, length in zip(requests, num_prompt_tokens, strict=True)
        if one.number >= warmup and one.error is None
    ]
    count = max(1, len(some))
    e2e_s = sum(one.e2e_s for one, _ in some)
    num_written = sum(one.num_tokens for one, _ in some)
    return {
        "token_s": e2e_s / max(1, num_written + sum(length for _, length in some)),
        "output_token_s": e2e_s / max(1, num_written),
        "first_attainment": sum(one.ttft_s <= FIRST_S for one, _ in some) / count,
        "satisfaction": sum(max(0.0, 1 - (one.ttft_s / FIRST_S) ** 2) for one, _ in some) / count,
    }
