"""The weight variants of a text model, and the likelihood of prose under each."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from encodeonce.models.quantization.method import Candidate
from encodeonce.models.quantization.registry import quantizer_class
from encodeonce.models.spec import ModelSpec
from tests.real.prose import articles
from tests.real.smollm2 import load_model

GROUP_SIZE = 64
"""Largest power of two that divides the model's widths, 576 and 1,536."""
NUM_TOKENS = 512
"""Of a piece of prose."""
_WHILE_LOADING: Mapping[str, Mapping[str, Any]] = {
    "rtn": {"group_size": GROUP_SIZE},
    "bnb-nf4": {},
    "bnb-fp4": {},
    "bnb-int8": {},
    "torchao-int8": {},
}
"""Methods that need no checkpoint of their own, with options."""


def pieces(decoder: Any, count: int) -> list[list[int]]:
    """Return pieces of prose as tokens, from the corpus's end.

    Raises:
        ValueError: the corpus has not as many.
    """
    token_ids = decoder.ids("\n\n".join(articles()))
    if count > (most := len(token_ids) // NUM_TOKENS):
        raise ValueError(f"the corpus has {most} pieces of {NUM_TOKENS} tokens, not {count}")
    places = [len(token_ids) - NUM_TOKENS * (n + 1) for n in range(count)]
    return [token_ids[place : place + NUM_TOKENS] for place in places]


def nlls(model: Any, prose: list[list[int]]) -> list[float]:
    """Return the mean negative log-likelihood of each piece's tokens but the first, nats."""
    found = []
    for piece in prose:
        ids = torch.tensor([piece])
        with torch.inference_mode():
            log_probs = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        found.append(-float(log_probs.gather(1, ids[0, 1:, None]).mean()))
    return found


def variants(folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the variants by name, each with what loads it."""
    yield "none", lambda: load_model(folder)
    for name in _WHILE_LOADING:
        yield name, lambda name=name: loaded(folder, name)


def loaded(folder: Path, method: str) -> Any:
    """Return the model with weights that a method makes while loading."""
    quantizer: Any = quantizer_class(method)(**_WHILE_LOADING[method])
    spec = ModelSpec(path=str(folder), dtype="float32", device="cpu")
    candidate = Candidate(model=spec, folder=folder, source=folder, path=None)
    return load_model(folder, quantizer.loading_hooks(candidate))
