"""vLLM in this process: one model's language side, its cache of keys and values, its adapters."""

import gc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch._dynamo

from encodeonce.models.language.adapting import BASE
from encodeonce.models.language.prefix import Prefix

ENVIRONMENT = {
    # The engine in our process: features are handed over without being copied or sent.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Threads as OMP_NUM_THREADS says. By default each engine binds itself to the same cores.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
"""Defaults of environment variables that vLLM reads."""
_PARTS = {"layers": ".layers.", "embeddings": ".embed_tokens.", "head": ".lm_head."}
"""What the names of weights contain, by part."""


class VllmModel:
    """A loaded engine. One at a time in a process."""

    def __init__(
        self,
        arguments: Mapping[str, Any],
        sampling: Mapping[str, Any],
        adapters: Sequence[tuple[str, Path]],
    ) -> None:
        """Load it.

        Args:
            arguments: of ``vllm.LLM``.
            sampling: of ``vllm.SamplingParams``, beside the number of tokens.
            adapters: titles and folders, in the order of their numbers.
        """
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if arguments.get("enforce_eager"):
            # vLLM compiles parts of its sampler even then, which takes minutes on a busy CPU.
            torch._dynamo.config.disable = True
        from vllm import LLM
        from vllm.lora.request import LoRARequest

        self._llm = LLM(**arguments)
        self._sampling = dict(sampling)
        self._adapters = [
            LoRARequest(title, number, str(folder))
            for number, (title, folder) in enumerate(adapters, start=1)
        ]

    def sampling(self, max_tokens: int, num_logits: int) -> Any:
        """Return the parameters of greedy answers, with each token's largest logits."""
        from vllm import SamplingParams

        return SamplingParams(
            temperature=0.0,
            max_tokens=max_tokens,
            logprobs=num_logits,
            detokenize=False,
            **self._sampling,
        )

    def run(
        self, requests: Mapping[str, tuple[Mapping[str, Any], Prefix]], parameters: Any
    ) -> dict[str, Any]:
        """Return vLLM's outputs of requests, by name.

        Args:
            requests: prompts as the engine takes them, with the prefixes that name the adapter.
            parameters: from `sampling`.
        """
        engine = self._llm.llm_engine
        outputs: dict[str, Any] = {}
        try:
            for name, (prompt, prefix) in requests.items():
                adapter = None if prefix.adapter == BASE else self._adapters[prefix.adapter]
                engine.add_request(name, prompt, parameters, lora_request=adapter)
            while engine.has_unfinished_requests():
                for output in engine.step():
                    if output.finished:
                        outputs[output.request_id] = output
        finally:
            if left := [name for name in requests if name not in outputs]:
                engine.abort_request(left)
        return outputs

    def bytes_by_part(self) -> dict[str, int]:
        """Return the bytes of its weights, as `LoadedWeights` divides them."""
        (found,) = self._llm.apply_model(_bytes_by_part)
        return found

    def close(self) -> None:
        """Free its memory, and what vLLM keeps for the process."""
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        gc.collect()
        cleanup_dist_env_and_memory()


def _bytes_by_part(model: Any) -> dict[str, int]:
    found = dict.fromkeys(("layers", "embeddings", "head", "other"), 0)
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        part = next((part for part, words in _PARTS.items() if words in f".{name}"), "other")
        found[part] += weight.nbytes
    return found
