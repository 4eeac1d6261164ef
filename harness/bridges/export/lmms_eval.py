"""Writes result files as lmms-eval 0.7 does: one for the run, and one of samples for each task.

``{model}/{day}_{time}_results.json`` and ``{model}/{day}_{time}_samples_{task}.jsonl``. Field
names are those of its ``EvaluationTracker``. What only lmms-eval knows (its own version, git) is
left out; a failed sample has no line and does not count in ``n-samples.effective``.
"""

import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from encodeonce.harness.results.export import (
    AnsweredSample,
    ExportedBenchmark,
    VariantExport,
    file_name,
)
from encodeonce.harness.run.scoring import REFERENCE

NO_FILTER = "none"
"""lmms-eval names a value by its metric and the filter that the answers went through."""


def write(run: VariantExport, folder: Path) -> list[Path]:
    """Write the results and the samples."""
    target = folder / run.name
    target.mkdir(parents=True, exist_ok=True)
    stamp = f"{run.written:%Y%m%d_%H%M%S}"
    samples = {_task(benchmark): _samples(benchmark) for benchmark in run.benchmarks}
    written = [target / f"{stamp}_results.json"]
    content = json.dumps(_results(run, samples, stamp), indent=2, ensure_ascii=False)
    written[0].write_text(content + "\n", encoding="utf-8")
    for task, lines in samples.items():
        path = target / f"{stamp}_samples_{task}.jsonl"
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _samples(benchmark: ExportedBenchmark) -> list[dict[str, Any]]:
    return [_sample(one) for one in benchmark.answered if one.record.error is None]


def _sample(one: AnsweredSample) -> dict[str, Any]:
    record = one.record
    tokens = {
        "input_tokens": record.num_prompt_tokens,
        "output_tokens": record.num_generated_tokens,
    }
    answer = str(record.log_probs[REFERENCE]) if record.text is None else record.text
    return {
        "doc_id": one.index,
        "target": one.sample.target,
        "filtered_resps": answer,
        "token_counts": [tokens],
        "doc_hash": _sha256(
            json.dumps({**asdict(one.sample), "prompt": one.prompt}, sort_keys=True)
        ),
        "input": one.prompt,
        "input_media": [ref.path for ref in one.sample.media],
        "sample_id": one.sample.id,
        **_metrics(one),
    }


def _metrics(one: AnsweredSample) -> dict[str, float]:
    """Return a sample's values by metric. lmms-eval compares runs by ``score``."""
    record = one.record
    if REFERENCE in record.log_probs:
        return {"nll": -record.log_probs[REFERENCE] / record.num_scored_tokens[REFERENCE]}
    return {} if record.score is None else {"score": record.score}


def _results(
    run: VariantExport, samples: Mapping[str, Sequence[Mapping[str, Any]]], stamp: str
) -> dict[str, Any]:
    """Return the content of results.json."""
    by_task = {_task(benchmark): benchmark for benchmark in run.benchmarks}
    config, generation = run.config, run.config.generation
    records = [one.record for benchmark in run.benchmarks for one in benchmark.answered]
    return {
        "results": {task: _figures(task, benchmark) for task, benchmark in by_task.items()},
        "group_subtasks": {task: [] for task in by_task},
        "configs": {task: _task_config(run, benchmark) for task, benchmark in by_task.items()},
        "versions": dict.fromkeys(by_task, "Yaml"),
        "n-shot": dict.fromkeys(by_task, 0),
        "higher_is_better": {
            task: {metric: metric == "score" for metric in _by_metric(benchmark)}
            for task, benchmark in by_task.items()
        },
        "n-samples": {
            task: {"original": benchmark.num_samples, "effective": len(samples[task])}
            for task, benchmark in by_task.items()
        },
        "config": {
            "model": "encodeonce",
            "model_args": f"pretrained={config.model.path},dtype={config.model.dtype}",
            "batch_size": generation.max_batch,
            "device": config.model.device,
            "limit": config.limit,
            "gen_kwargs": {"max_new_tokens": generation.max_new_tokens, "do_sample": False},
            "encodeonce": {
                "run": run.fingerprint,
                "variant": run.variant,
                "config": config.model_dump(mode="json"),
            },
        },
        "date": stamp,
        "task_hashes": {
            task: _sha256("".join(f"sample_{n}{line['doc_hash']}" for n, line in enumerate(lines)))
            for task, lines in samples.items()
        },
        "model_source": "encodeonce",
        "model_name": f"{config.model.path} {run.variant}",
        "model_name_sanitized": run.name,
        "total_evaluation_time_seconds": str(
            sum(sum(record.seconds.values()) for record in records)
        ),
    }


def _task_config(run: VariantExport, benchmark: ExportedBenchmark) -> dict[str, Any]:
    metrics = [
        {"metric": metric, "aggregation": "mean", "higher_is_better": metric == "score"}
        for metric in _by_metric(benchmark)
    ]
    generates = benchmark.spec.scoring == "generate"
    return {
        "task": _task(benchmark),
        "dataset_path": benchmark.spec.name,
        "dataset_kwargs": benchmark.spec.options,
        "output_type": "generate_until" if generates else "loglikelihood",
        "generation_kwargs": {"max_new_tokens": run.config.generation.max_new_tokens},
        "metric_list": metrics,
        "score_key": "score",
        "repeats": 1,
    }


def _figures(task: str, benchmark: ExportedBenchmark) -> dict[str, Any]:
    """Return means with their standard errors, keyed as lmms-eval does."""
    figures: dict[str, Any] = {"alias": task}
    for metric, values in _by_metric(benchmark).items():
        error = standard_error([value for value, _ in values])
        clustered = clustered_standard_error(values)
        figures[f"{metric},{NO_FILTER}"] = statistics.fmean(value for value, _ in values)
        figures[f"{metric}_stderr,{NO_FILTER}"] = error
        figures[f"{metric}_stderr_clt,{NO_FILTER}"] = error
        figures[f"{metric}_stderr_clustered,{NO_FILTER}"] = clustered
    return figures


def _by_metric(benchmark: ExportedBenchmark) -> dict[str, list[tuple[float, str]]]:
    """Return each metric's values, each with its cluster."""
    found: dict[str, list[tuple[float, str]]] = {}
    for one in benchmark.answered:
        if one.record.error is None:
            for metric, value in _metrics(one).items():
                found.setdefault(metric, []).append((value, one.sample.group))
    return found


def standard_error(values: Sequence[float]) -> float | str:
    """Return the standard error of a mean of independent values; ``"N/A"`` for a single one."""
    if len(values) < 2:
        return "N/A"
    return statistics.stdev(values) / math.sqrt(len(values))


def clustered_standard_error(values: Sequence[tuple[float, str]]) -> float | str:
    """Return the standard error of a mean of values that depend on others of their cluster.

    Miller, Adding Error Bars to Evals, 2024 (arXiv 2411.00640), equation 4, with the sample's
    variance for independent values, as lmms-eval computes it. ``"N/A"`` for a single cluster.
    """
    n, mean = len(values), statistics.fmean(value for value, _ in values)
    independent = standard_error([value for value, _ in values])
    residuals: dict[str, list[float]] = {}
    for value, cluster in values:
        residuals.setdefault(cluster, []).append(value - mean)
    if len(residuals) < 2 or isinstance(independent, str):
        return "N/A"
    between = sum(sum(of) ** 2 - sum(r * r for r in of) for of in residuals.values())
    return math.sqrt(max(0.0, independent**2 + between / (n * n)))


def _task(benchmark: ExportedBenchmark) -> str:
    return file_name(benchmark.spec.title)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
