"""Refuses what a run file asks of an engine that lacks it."""

from collections.abc import Sequence

from encodeonce.models.engine_spec import EngineSpec
from encodeonce.models.kv.spec import FULL, KVSpec

_TO_TYPE = "write engine: transformers, or make it a run of its own"


def check_engine(
    engine: EngineSpec,
    kv: Sequence[KVSpec],
    scorings: Sequence[str] = (),
    *,
    fidelity: bool = False,
) -> None:
    """Refuse caches and scores that vLLM does not have.

    Args:
        engine: what decodes.
        kv: cache variants.
        scorings: how the benchmarks are scored.
        fidelity: whether caches are compared token by token.

    Raises:
        ValueError: vLLM decodes, and there is one of these.
    """
    if not engine.is_vllm:
        return
    for setting in kv:
        if setting.title != FULL.title:
            raise ValueError(
                f"engine: vllm keeps every token of a prompt: its block tables are one a request, "
                f"for all layers and heads, so nothing can be left out as kv {setting.title!r} "
                f"does. Leave kv out and {_TO_TYPE}. Caches of 8 bits: engine: {{name: vllm, "
                "kv_cache_dtype: fp8}"
            )
    if fidelity:
        raise ValueError(
            f"engine: vllm has no compressed cache to compare: leave fidelity out or {_TO_TYPE}"
        )
    for scoring in scorings:
        if scoring != "generate":
            raise ValueError(
                f"engine: vllm writes answers, and scoring {scoring!r} needs likelihoods of given "
                f"texts: write scoring: generate, or {_TO_TYPE}"
            )
