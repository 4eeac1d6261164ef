"""Greedy generation by transformers, with the seconds to the first token told apart."""

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from encodeonce.models.family import Generation, GenerationSpec
from encodeonce.models.tensors import to_array
from encodeonce.models.timing import synchronize


class _FirstToken(StoppingCriteria):
    """Never stops; notes when it is first asked, which is after the first token."""

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
    """Generate greedily for one prompt.

    Args:
        model: a transformers model with ``generate``.
        tokenizer: turns the new tokens into text.
        inputs: keyword arguments of ``generate``; ``input_ids`` of shape (1, N) among them.
        spec: how long the answer may be.
        num_visual_units: images in the prompt.
        prepare_s: seconds already spent on making ``inputs``.
    """
    first_token = _FirstToken()
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
    num_prompt_tokens = inputs["input_ids"].shape[1]
    new_tokens = output.sequences[0, num_prompt_tokens:].tolist()
    assert first_token.at is not None
    return Generation(
        text=tokenizer.decode(new_tokens, skip_special_tokens=True).strip(),
        token_ids=tuple(new_tokens),
        logits_sha256=_digest(output.logits),
        num_visual_units=num_visual_units,
        num_prompt_tokens=num_prompt_tokens,
        seconds={
            "prepare": prepare_s,
            "prefill": first_token.at - start,
            "generate": end - first_token.at,
        },
    )


def _digest(logits: tuple[torch.Tensor, ...]) -> str:
    digest = hashlib.sha256()
    for step in logits:
        digest.update(to_array(step.float()).data)
    return digest.hexdigest()
