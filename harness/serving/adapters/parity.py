"""Whether two ways to compute adapters agree: asked when serving begins, not believed.

Shapes: N rows, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch

from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.language.adapting import using

NUM_TOKENS = 32
MOST = 0.02
"""Difference of logits, relative to the largest, above which a way is refused."""


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids (T,) of a text, repeated as often as it takes."""
    found = list(tokenizer(text, add_special_tokens=False).input_ids)
    return (found * NUM_TOKENS)[:NUM_TOKENS]


def logits_under(model: Any, token_ids: Sequence[int], numbers: Sequence[int]) -> torch.Tensor:
    """Return the logits (N, T, V) float32 of the same tokens under each of N adapters."""
    rows = torch.tensor([list(token_ids)] * len(numbers), device=model.device)
    with torch.inference_mode(), using(numbers):
        logits: torch.Tensor = model(input_ids=rows, use_cache=False).logits
    return logits.float()


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference of logits, relative to the largest of those expected."""
    return float((found - expected).abs().max() / expected.abs().max())


def refuse(what: str, by: float, instead: str) -> None:
    """Refuse a way whose logits are too far from those beside the weights.

    Args:
        what: is computed otherwise.
        by: `difference`.
        instead: what to type.

    Raises:
        AdapterError: they are, or are no numbers.
    """
    if not by <= MOST:  # NaN as well
        raise AdapterError(
            f"{what} differ from those beside the weights by {by:.3g} of the largest, and "
            f"{MOST:g} is allowed; {instead}"
        )
