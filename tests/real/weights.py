"""The weight variants of a text model, and the likelihood of prose under each."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from encodeonce.models.quantization.grid import Grid
from encodeonce.models.quantization.making.calibration import Inputs
from encodeonce.models.quantization.making.export import (
    config_text,
    quantization_config,
    stored_prefix,
    write_checkpoint,
)
from encodeonce.models.quantization.making.recipe import Progress, Recipe, quantize_layers
from encodeonce.models.quantization.method import Candidate, quantizer_class
from encodeonce.models.spec import ModelSpec
from tests.real.prose import articles
from tests.real.smollm2 import TextDecoder, load_model

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


def pieces(decoder: Any, count: int, *, held_out: bool) -> list[list[int]]:
    """Return pieces of prose as tokens, from the corpus's end or, to calibrate, its beginning.

    Raises:
        ValueError: the corpus has not twice as many.
    """
    token_ids = decoder.ids("\n\n".join(articles()))
    if count > (most := len(token_ids) // NUM_TOKENS // 2):
        raise ValueError(f"the corpus has {most} pieces of {NUM_TOKENS} tokens, not {count}")
    places = [NUM_TOKENS * n for n in range(count)]
    if held_out:
        places = [len(token_ids) - NUM_TOKENS - place for place in places]
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
    yield "awq", lambda: made(folder, "awq")


def loaded(folder: Path, method: str) -> Any:
    """Return the model with weights that a method makes while loading."""
    quantizer: Any = quantizer_class(method)(**_WHILE_LOADING[method])
    spec = ModelSpec(path=str(folder), dtype="float32", device="cpu")
    candidate = Candidate(model=spec, folder=folder, source=folder, path=None)
    return load_model(folder, quantizer.loading_hooks(candidate))


def made(folder: Path, method: Any, num_prompts: int = 8, num_search_tokens: int = 1024) -> Any:
    """Return the model from a checkpoint that we quantise, as plain transformers reads it."""
    recipe = Recipe(
        method=method, grid=Grid(group_size=GROUP_SIZE), num_search_tokens=num_search_tokens
    )
    decoder = TextDecoder(folder)
    prefix, stored = (
        stored_prefix(folder, decoder.model),
        quantization_config(decoder.model, recipe.grid),
    )

    def calibration() -> Iterator[Inputs]:
        for piece in pieces(decoder, num_prompts, held_out=False):
            yield decoder._inputs(piece)

    with tempfile.TemporaryDirectory() as temporary:
        progress, target = Progress(Path(temporary) / "layers", {}), Path(temporary) / "model"
        quantize_layers(decoder.model, recipe, calibration, progress, lambda done, total: None)
        files = {"config.json": config_text(folder, stored)}
        write_checkpoint(folder, target, Path(), prefix, progress.path, files)
        return load_model(target)
