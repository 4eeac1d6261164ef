"""vLLM by itself, as its users write it: all requests in one call of ``LLM.generate``.

Videos are decoded once for all questions, before vLLM is asked: what its server would do for every
request. Its processor prepares each request, and finds what it has prepared before in its cache.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encodeonce.harness.bench.peers.job import Done, Took, now, since
from encodeonce.harness.bench.peers.pictures import pictures
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import MediaGroup, make_plan
from encodeonce.harness.workers.session import Session
from encodeonce.models.checkpoint.files import load_config
from encodeonce.models.engine_spec import EngineSpec
from encodeonce.models.family import find_family
from encodeonce.models.family_bases.opener import Opener
from encodeonce.models.family_bases.transformers import TransformersFamily
from encodeonce.models.language.chat import Slot
from encodeonce.models.language.context import context_length
from encodeonce.models.vllm.model import ENVIRONMENT


def alone(
    config: RunConfig, started_s: float, engine: EngineSpec, connector: str | None = None
) -> Done:
    """Answer from pixels, or with encoder outputs from the connector's store.

    Args:
        config: the run.
        started_s: when the process began.
        engine: memory and blocks, the same for all ways with vLLM.
        connector: folder of the connector's store; None to leave the connector out.
    """
    plan = make_plan(config)
    with Session(config) as session:
        opener, folder = _opener(config)
        llm = _load(folder, config, engine, connector)
        counted = llm.apply_model(_count_encodings)[0]
        start = now()
        asked = [
            (sample.id, _from_pixels(opener, prompt, shown))
            for group in plan.groups
            for shown in [pictures(session, group)]
            for sample, prompt in zip(group.samples, group.prompts, strict=True)
        ]
        return _answered(llm, config, asked, started_s, start, counted)


def embedded(config: RunConfig, started_s: float, engine: EngineSpec) -> Done:
    """Answer from projected features that are in memory before the clock runs."""
    plan = make_plan(config)
    with Session(config) as session:
        opener, folder = _opener(config)
        llm = _load(folder, config, engine, None, is_embedded=True)
        asked = [
            (sample.id, _from_pixels(opener, prompt, tokens))
            for group in plan.groups
            for tokens in [_embeddings(session, opener, group)]
            for sample, prompt in zip(group.samples, group.prompts, strict=True)
        ]
        return _answered(llm, config, asked, started_s, now(), [])


def _opener(config: RunConfig) -> tuple[Opener, Path]:
    family, folder = find_family(config.model)
    assert isinstance(family, TransformersFamily), "checked before any way is run"
    return family.opener(folder, config.model, config.vision), folder


def _load(
    folder: Path,
    config: RunConfig,
    engine: EngineSpec,
    connector: str | None,
    *,
    is_embedded: bool = False,
) -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from vllm import LLM

    transfer = {
        "ec_connector": "EncodeOnceConnector",
        "ec_connector_module_path": "encodeonce.harness.bridges.vllm.connector",
        "ec_role": "ec_both",
        "ec_connector_extra_config": {"path": connector},
    }
    more: dict[str, Any] = {} if connector is None else {"ec_transfer_config": transfer}
    if is_embedded:
        more |= {"enable_mm_embeds": True, "limit_mm_per_prompt": {"image": 0}}
    if engine.kv_cache_gib is not None:
        more["kv_cache_memory_bytes"] = int(engine.kv_cache_gib * 2**30)
    return LLM(
        model=str(folder),
        dtype=config.model.dtype,
        max_model_len=context_length(load_config(folder)),
        max_num_seqs=config.generation.max_batch,
        enforce_eager=bool(engine.eager),
        generation_config="vllm",
        seed=0,
        **more,
    )


def _answered(
    llm: Any,
    config: RunConfig,
    asked: Sequence[tuple[str, Mapping[str, Any]]],
    started_s: float,
    start: Took,
    counted: list[int],
) -> Done:
    from vllm import SamplingParams

    prepared = since(start)
    greedy = SamplingParams(temperature=0.0, max_tokens=config.generation.max_new_tokens)
    outputs = llm.generate([one for _, one in asked], greedy, use_tqdm=False)
    took = since(start)
    return Done(
        load_s=start.answer_s - started_s,
        answer_s=took.answer_s,
        cpu_s=took.cpu_s,
        texts={
            name: one.outputs[0].text.strip() for (name, _), one in zip(asked, outputs, strict=True)
        },
        num_encoded=sum(counted),
        num_prefilled=sum(
            len(one.prompt_token_ids) - (one.num_cached_tokens or 0) for one in outputs
        ),
        stages={
            "decode": prepared.answer_s,
            "generate": took.answer_s - prepared.answer_s,
        },
    )


def _embeddings(session: Session, opener: Opener, group: MediaGroup) -> list[Any]:
    requests = [session.look_up(group.root, ref, group.benchmark) for ref in group.media]
    _, shown = opener.open([session.visual(request) for request in requests])
    return [one.tokens for one in shown]


def _from_pixels(opener: Opener, question: str, items: Sequence[Any]) -> dict[str, Any]:
    """Return a prompt as vLLM's users give it: one placeholder for each picture."""
    token = opener.placeholder("image")
    text = opener.chat.prompt([Slot("image", token)] * len(items), question)
    token_ids = opener.chat.tokenize(text, opener.device)["input_ids"][0].tolist()
    return {"prompt_token_ids": token_ids, "multi_modal_data": {"image": list(items)}}


def _count_encodings(model: Any) -> list[int]:
    """Let a vLLM model note how many items its encoder computes."""
    counted: list[int] = []
    embed = model.embed_multimodal

    def counting(**arguments: Any) -> Any:
        found = embed(**arguments)
        counted.append(len(found))
        return found

    model.embed_multimodal = counting
    return counted
