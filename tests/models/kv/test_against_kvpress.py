"""The same entries stay as with kvpress 0.5.5 on the same tensors.

`record_kvpress.py` wrote the file.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from encodeonce.models.kv.observe import unrotate
from encodeonce.models.kv.registry import find_method
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.statistics import LayerStatistics, Moments, PromptStatistics

NUM_LAYERS = 4
OPTIONS: dict[str, dict[str, Any]] = {
    "knorm": {},
    "snapkv": {"window": 8},
    "tova": {},
    "expected_attention": {},
    "pyramidkv": {"window": 8, "beta": 4},
    "streaming_llm": {},
    "keydiff": {},
    "adakv": {"window": 8},
}


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name("kvpress.npz"), allow_pickle=False) as file:
        return dict(file)


def rotary(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    frequencies = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    angles = (positions[:, None] * frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def prompt(recorded: dict[str, np.ndarray], num_question: int) -> PromptStatistics:
    layers = []
    for layer in range(NUM_LAYERS):
        queries, keys, values = (
            torch.from_numpy(recorded[f"{name}/{layer}"]) for name in ("queries", "keys", "values")
        )
        cos, sin = rotary(torch.arange(keys.shape[1]))
        before = unrotate(queries[None], cos[None], sin[None])[0]
        split = keys.shape[1] - num_question
        layers.append(
            LayerStatistics(
                layer=layer,
                parts=[(keys[:, :split], values[:, :split]), (keys[:, split:], values[:, split:])],
                query_parts=[queries[:, -64:]],
                num_prefix=split,
                scaling=16**-0.5,
                prefix_moments={4: Moments.of(before[:, 4:split])},
                question_unrotated=before[:, split:],
            )
        )
    return PromptStatistics(
        layers=layers, is_visual=torch.zeros(keys.shape[1], dtype=torch.bool), rotary=rotary
    )


@pytest.mark.parametrize("keep", [0.3, 0.55])
@pytest.mark.parametrize("name", OPTIONS)
def test_the_same_entries_stay(recorded: dict[str, np.ndarray], name: str, keep: float) -> None:
    method = find_method(KVSpec(method=name, keep=keep, options=OPTIONS[name]))
    assert method is not None
    plan = method.plan(prompt(recorded, num_question=20), keep)
    for layer, selection in enumerate(plan):
        expected = torch.from_numpy(recorded[f"{name}@{keep:.2f}/{layer}"])
        stays = torch.zeros_like(expected)
        for head, chosen in enumerate(selection):
            stays[head, chosen] = True
        assert torch.equal(stays, expected), f"layer {layer}"
