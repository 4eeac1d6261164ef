"""What a run's adapters have to fit: its benchmarks, caches and weights."""

from collections.abc import Sequence

from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.engine_spec import EngineSpec
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.spec import WeightsSpec


def check_benchmarks(adapters: Sequence[AdapterSpec | None], known: Sequence[str]) -> None:
    """Refuse adapters that are for benchmarks which the run lacks.

    Raises:
        ValueError: there is one.
    """
    for adapter in adapters:
        names = adapter.benchmarks if adapter is not None else ()
        unknown = [name for name in names if name not in known]
        if adapter is not None and unknown:
            raise ValueError(
                f"adapters: {adapter.title!r} is only for the benchmark {unknown[0]!r}, which the "
                f"run lacks; it has {', '.join(known) or 'none'}"
            )


def check_heads(adapters: Sequence[AdapterSpec | None], kv: Sequence[KVSpec]) -> None:
    """Refuse what cannot answer by a head.

    Raises:
        ValueError: the base is to, or a cache that is compressed behind the question.
    """
    if None in adapters:
        raise ValueError(
            "scoring: head is answered by adapters that were trained with a head, and 'none' has "
            "none: give only such adapters, and the base in a run of its own"
        )
    behind = [spec.title for spec in kv if not spec.is_full and spec.scope == "question"]
    if behind:
        raise ValueError(
            "scoring: head answers at the prompt's last token, which caches of scope 'question' "
            f"come after: {behind[0]} would be the full cache. Write scope: media"
        )


def check_merging(
    weights: Sequence[WeightsSpec], scorings: Sequence[str], engine: EngineSpec
) -> None:
    """Refuse what adapters cannot be merged for.

    Raises:
        ValueError: weights are quantised, a head is to answer, or vLLM.
    """
    if engine.is_vllm:
        raise ValueError("engine: vllm has adapters beside its weights: leave adapter_mode out")
    if quantised := [spec.title for spec in weights if not spec.is_none]:
        raise ValueError(
            f"adapter_mode: merged adds adapters to plain weights; {quantised[0]} would have to be "
            "quantised again, which is another model. Leave it out, or merge first: encodeonce "
            "merge adapter"
        )
    if "head" in scorings:
        raise ValueError("scoring: head is answered beside the weights: leave adapter_mode out")
