"""Loads vLLM for a run file's model, or says before the work begins why it cannot be.

vLLM gets no tower, unless it needs one to take an architecture's embeddings: where no media of a
kind are allowed and embeddings are, it leaves out what would encode them, projector included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from encodeonce.models.adapters.checkpoint import Adapter, adapter_folder, read_adapter
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.checkpoint.files import device, local_checkpoint, read_config
from encodeonce.models.checkpoint.footprint import LoadingMeasure, held_bytes
from encodeonce.models.engine_spec import EngineSpec
from encodeonce.models.family_bases.transformers import TransformersFamily
from encodeonce.models.language.context import context_length
from encodeonce.models.language.generation import ends_of
from encodeonce.models.spec import ModelSpec, VisionSpec, WeightsSpec
from encodeonce.models.vllm.decoder import VllmDecoder
from encodeonce.models.vllm.inputs import LAYOUTS, WITH_TOWER
from encodeonce.models.vllm.model import VllmModel
from encodeonce.models.vllm.weights import loading_arguments, why_not

_GIB = 2**30
_CPU_CACHE_GIB = 2.0
_KEPT = ("repetition_penalty",)
"""Rules of generation_config.json that vLLM has too, under the same name."""
_DROPPED = {
    "sequence_bias": None,
    "no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "guidance_scale": None,
    "min_new_tokens": 0,
}
"""Those that it lacks, with the values that ask for nothing."""
_REFUSED = {
    "gemma3": "vLLM's class for it refuses embeddings (Gemma3 does not support image_embeds)",
}
"""Architectures that vLLM loads and takes no embeddings for, and why."""


class EngineError(ValueError):
    """vLLM cannot be used for this run."""


def check_vllm(family: Any, folder: Path, model: ModelSpec, weights: WeightsSpec) -> None:
    """Refuse what vLLM does not have, before anything is loaded.

    Args:
        family: the checkpoint's.
        folder: the checkpoint.
        model: its precision.
        weights: a variant.

    Raises:
        EngineError: vLLM is not installed, takes no embeddings for the architecture, or does not
            have the variant.
    """
    if find_spec("vllm") is None:
        raise EngineError(
            "engine: vllm needs vLLM, which is not installed; type: pip install vllm, on a machine "
            "without a GPU: make test-vllm, which makes an environment with its build for CPUs"
        )
    kind = str(read_config(folder).get("model_type"))
    if not isinstance(family, TransformersFamily) or kind not in LAYOUTS:
        why = _REFUSED.get(kind, "vLLM does not load this architecture, or not as its family does")
        raise EngineError(
            f"engine: vllm takes no {kind!r}: {why}. Allowed: {', '.join(sorted(LAYOUTS))}; for "
            "this model write engine: transformers"
        )
    if (words := why_not(weights, _held(folder, weights), model.dtype)) is not None:
        raise EngineError(
            f"engine: vllm has no weights {weights.title!r}: {words}. Or write engine: transformers"
        )


def load_vllm(
    family: Any,
    folder: Path,
    model: ModelSpec,
    vision: VisionSpec,
    weights: WeightsSpec,
    adapters: Sequence[AdapterSpec],
    engine: EngineSpec,
    max_batch: int,
) -> VllmDecoder:
    """Load a model's language side into vLLM, and what projects features beside it.

    Args:
        family: the checkpoint's.
        folder: the checkpoint.
        model: precision and device.
        vision: where features were taken.
        weights: the variant.
        adapters: that answers may be under.
        engine: vLLM's own settings.
        max_batch: most answers that are decoded together.

    Raises:
        EngineError: vLLM is not installed, or has not what the run needs.
    """
    check_vllm(family, folder, model, weights)
    measure = LoadingMeasure()
    opener = family.opener(folder, model, vision)
    config = opener.model.config
    read = [read_adapter(one) for one in adapters]
    arguments = {
        **_arguments(_held(folder, weights), model, engine, config),
        **loading_arguments(weights),
        **_lora(read),
        "max_num_seqs": max_batch,
    }
    folders = [(one.title, adapter_folder(one)) for one in adapters]
    loaded = VllmModel(arguments, _sampling(opener.model), folders)
    whole = {} if engine.tensor_parallel > 1 else loaded.bytes_by_part()
    projector = 0 if opener.projector is None else held_bytes(opener.projector, set())
    took = measure.taken({**whole, "projector": projector})
    return VllmDecoder(
        loaded,
        opener,
        LAYOUTS[str(config.model_type)],
        replace(took, kernels={"all": f"vLLM {_version()}"}),
        [one.title for one in adapters],
    )


def _held(folder: Path, weights: WeightsSpec) -> Path:
    """Return the checkpoint that holds a variant's language side."""
    return folder if weights.path is None else local_checkpoint(ModelSpec(path=weights.path))


def _version() -> str:
    import vllm

    return str(vllm.__version__)


def _arguments(
    folder: Path, model: ModelSpec, engine: EngineSpec, config: Any
) -> Mapping[str, Any]:
    """Return vLLM's arguments for a checkpoint."""
    on_cpu = device(model).type == "cpu"
    gib = engine.kv_cache_gib or (_CPU_CACHE_GIB if on_cpu else None)
    length = context_length(config)
    arguments = {
        "model": str(folder),
        "dtype": model.dtype,
        "seed": 0,
        "tensor_parallel_size": engine.tensor_parallel,
        "gpu_memory_utilization": engine.gpu_memory,
        "kv_cache_memory_bytes": None if gib is None else int(gib * _GIB),
        "kv_cache_dtype": engine.kv_cache_dtype,
        "block_size": engine.block_size,
        "enforce_eager": on_cpu if engine.eager is None else engine.eager,
        "enable_prefix_caching": True,
        "generation_config": "vllm",  # no defaults from the checkpoint: `_sampling` has them
        "logprobs_mode": "raw_logits",
        "enable_mm_embeds": True,
        "limit_mm_per_prompt": {"image": int(config.model_type in WITH_TOWER), "video": 0},
        "skip_mm_profiling": True,  # no encoder ever runs
        "mm_processor_cache_gb": 0,
        "disable_log_stats": True,
    }
    if length is not None:
        arguments["max_model_len"] = length
    return {name: value for name, value in arguments.items() if value is not None}


def _lora(adapters: Sequence[Adapter]) -> Mapping[str, Any]:
    """Return vLLM's arguments for adapters.

    Raises:
        EngineError: an adapter reaches what vLLM does not have here.
    """
    if not adapters:
        return {}
    for one in adapters:
        one.refuse_activated("vLLM is not told where. Write engine: transformers")
        if outside := [name for name in one.products if "projector" in name or "vision" in name]:
            raise EngineError(
                f"engine: vllm: the adapter {one.title!r} adapts {outside[0]}, and vLLM gets "
                "features from behind it; write engine: transformers"
            )
    largest = max(product.rank for one in adapters for product in one.products.values())
    return {
        "enable_lora": True,
        # One more than there are: on a CPU, vLLM takes the last place's product for the base's rows
        # of a mixed batch, and a place that is never filled adds nothing.
        "max_loras": len(adapters) + 1,
        "max_lora_rank": next((rank for rank in _RANKS if rank >= largest), largest),
    }


_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


def _sampling(model: Any) -> Mapping[str, Any]:
    """Return what the checkpoint's generation_config.json asks for, as vLLM takes it.

    Raises:
        EngineError: it asks for what vLLM lacks.
    """
    config = model.generation_config
    for name, nothing in _DROPPED.items():
        value = getattr(config, name, None)
        if value is not None and value != nothing:
            raise EngineError(
                f"generation_config.json: {name} is {value!r}, which vLLM lacks; write engine: "
                "transformers"
            )
    kept = {name: getattr(config, name, None) for name in _KEPT}
    return {
        # End-of-text tokens are the checkpoint's own, as in every other answer.
        "ignore_eos": True,
        "stop_token_ids": sorted(ends_of(model)),
        **{name: value for name, value in kept.items() if value is not None},
    }
