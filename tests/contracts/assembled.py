"""References for families assembled from parts: their formulas, written out once more."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from encodeonce.models.family_bases.assembled import AssembledFamily
from encodeonce.models.language.splicing import spliced
from tests.contracts.family import QUESTION, SHORT, Model, Scene
from tests.contracts.logits import NotedLogits, Tokens, assert_close, generated

Answered = tuple[torch.Tensor, Tokens]
"""Embeddings (1, N, D) of a prompt, and its answer."""


def fill_tower(tower: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give a tower the weights of a checkpoint that names them ``vision_model.…``."""
    prefix = "" if next(iter(tower.state_dict())).startswith("vision_model.") else "vision_model."
    for name, tensor in tower.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(weights[prefix + name])


def answered(llm: Any, embeddings: torch.Tensor) -> Answered:
    """Return embeddings and the language model's greedy answer to them."""
    mask = torch.ones(embeddings.shape[:2], dtype=torch.long)
    return embeddings, generated(llm, SHORT, inputs_embeds=embeddings, attention_mask=mask)


def assert_answers_as(
    expected: Answered, family: AssembledFamily, model: Model, *scenes: Scene
) -> None:
    """Compare the embeddings of QUESTION's prompt about some media, and its answer."""
    embeddings, answer = expected
    media = [model.decoder._project(model.visual(scene)) for scene in scenes]
    prompt = family.prompt(model.decoder._tokenizer, media, QUESTION)
    ours = spliced(model.decoder._model, prompt)["inputs_embeds"]
    assert ours.shape == embeddings.shape
    assert torch.allclose(ours, embeddings, rtol=0, atol=1e-5)
    with pytest.MonkeyPatch.context() as patch:
        logits = NotedLogits(patch)
        assert_close(logits.of(model.cached(*scenes)), answer)
