"""Generates by transformers' own ``generate``: what answers from stored features are held to."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from encodeonce.models.answer import Generation
from encodeonce.models.language.generation import Answering, ends_of
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.timing import synchronize


class _FirstToken(StoppingCriteria):
    """Never stops; notes the time when it is first asked, which is after the first token."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        if self.at is None:
            synchronize()
            self.at = time.perf_counter()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def generate(
    model: Any,
    tokenizer: Any,
    inputs: Mapping[str, Any],
    spec: GenerationSpec,
    num_visual_units: int,
    prepare_s: float,
) -> Generation:
    """Generate greedily from one whole prompt.

    Args:
        model: a transformers model with ``generate``.
        tokenizer: turns the new tokens into text.
        inputs: keyword arguments of ``generate``, including ``input_ids`` of shape (1, N).
        spec: how long the answer may be.
        num_visual_units: images in the prompt.
        prepare_s: seconds already spent on making ``inputs``.
    """
    first_token = _FirstToken()
    num_prompt_tokens = inputs["input_ids"].shape[1]
    synchronize()
    start = time.perf_counter()
    with torch.inference_mode():
        output = model.generate(
            **inputs,
            max_new_tokens=spec.max_new_tokens,
            do_sample=False,
            num_beams=1,
            return_dict_in_generate=True,
            output_logits=True,
            stopping_criteria=StoppingCriteriaList([first_token]),
        )
    synchronize()
    end = time.perf_counter()
    assert first_token.at is not None
    answer = Answering(ends_of(model), spec.max_new_tokens, num_prompt_tokens, num_visual_units)
    for token, logits in zip(
        output.sequences[0, num_prompt_tokens:].tolist(), output.logits, strict=True
    ):
        answer.write(token, logits[0].float())
    answer.spend("prepare", prepare_s)
    answer.spend("prefill", first_token.at - start)
    answer.spend("generate", end - first_token.at)
    return answer.generation(tokenizer)
