"""Plain transformers, and this program's own ways, by the workers that runs use."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from encodeonce.harness.bench.peers.job import Done, Took, now, since
from encodeonce.harness.run.blocks import Block, blocks_of, one_by_one, seats
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import Plan, branches_left, make_plan
from encodeonce.harness.workers.evaluate import EvaluateWorker
from encodeonce.harness.workers.precompute import PrecomputeWorker
from encodeonce.harness.workers.reference import ReferenceWorker
from encodeonce.models.answer import sum_seconds
from encodeonce.models.spec import NONE

Records = Sequence[Mapping[str, Any]]


def plain(config: RunConfig, started_s: float) -> Done:
    """Answer with plain transformers: each question decodes, encodes and prefills anew."""
    plan = make_plan(config)
    worker = ReferenceWorker(config, "bench")
    blocks = one_by_one(branches_left(plan.groups, config.weights, config.kv, ()))
    load_s, records, took = _answered(worker, blocks, started_s)
    num_encoded = sum(record["num_visual_units"] for record in records)
    num_prefilled = sum(record["num_prompt_tokens"] for record in records)
    return _done(load_s, took, records, num_encoded, num_prefilled)


def stored(config: RunConfig, started_s: float) -> Done:
    """Answer from the store, which holds everything."""
    plan = make_plan(config)
    worker = EvaluateWorker(config, "bench", only=NONE)
    load_s, records, took = _answered(worker, _blocks(plan, config), started_s)
    return _done(load_s, took, records, 0, _prefilled(records))


def cold(config: RunConfig, started_s: float) -> Done:
    """Fill an empty store, and answer from it."""
    plan = make_plan(config)
    worker = EvaluateWorker(config, "bench", only=NONE)
    encoder = PrecomputeWorker(config)
    encoder.prepare()
    load_s = now().answer_s - started_s
    start = now()
    made = [encoder.do(planned) for planned in plan.media()]
    encoder.close()
    filled = since(start)
    _, records, answered = _answered(worker, _blocks(plan, config), started_s)
    took = Took(filled.answer_s + answered.answer_s, filled.cpu_s + answered.cpu_s)
    num_encoded = sum(one["cache"]["num_encoded"] for one in made)
    done = _done(load_s, took, records, num_encoded, _prefilled(records))
    filling = sum_seconds(one["seconds"] for one in made)
    filling.pop("load", None)  # before the first
    return replace(done, stages=sum_seconds([filling, done.stages]))


def _blocks(plan: Plan, config: RunConfig) -> tuple[Block, ...]:
    max_batch = config.generation.max_batch
    branches = branches_left(plan.groups, config.weights, config.kv, (), config.adapters)
    return blocks_of(branches, seats(plan.every_group, max_batch), config.adapters, max_batch)


def _answered(worker: Any, blocks: Iterable[Block], started_s: float) -> tuple[float, Any, Took]:
    """Return the seconds of loading, the records, and what answering took."""
    start = now()
    records = [record for block in blocks for record in worker.do(block)]
    took = since(start)
    worker.close()
    for record in records:
        if record["error"] is not None:
            raise ValueError(f"{record['sample']}: {record['error']['message']}")
    return start.answer_s - started_s, records, took


def _prefilled(records: Records) -> int:
    """Return the tokens computed: a prefix once an adapter and media, or as often as vLLM says."""
    if any(record["num_cached_tokens"] for record in records):
        return sum(int(r["num_prompt_tokens"] - r["num_cached_tokens"]) for r in records)
    prefixes = Counter(
        {
            (record["variant"], *record["media_sha256"]): record["num_prefix_tokens"]
            for record in records
        }
    )
    behind = sum(int(r["num_prompt_tokens"] - r["num_prefix_tokens"]) for r in records)
    return prefixes.total() + behind


def _name(record: Mapping[str, Any]) -> str:
    adapter = record["variant"].rpartition("/")[0]
    return str(record["sample"]) if adapter == NONE.title else f"{record['sample']} {adapter}"


def _done(
    load_s: float, took: Took, records: Records, num_encoded: int, num_prefilled: int
) -> Done:
    return Done(
        load_s=load_s,
        answer_s=took.answer_s,
        cpu_s=took.cpu_s,
        texts={_name(record): record["text"] for record in records},
        num_encoded=num_encoded,
        num_prefilled=num_prefilled,
        stages=sum_seconds(
            {name: value for name, value in record["seconds"].items() if name != "load"}
            for record in records
        ),
    )
