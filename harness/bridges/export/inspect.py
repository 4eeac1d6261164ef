"""Writes eval logs of Inspect (inspect_ai): ``{model}__{variant}/{time}_{benchmark}.json``.

Version 2 of the log format, as JSON; `inspect view` shows it, and `read_eval_log` reads it.
Pictures and videos are named in a sample's metadata and are no part of it.
"""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from encodeonce.harness.results.export import (
    AnsweredSample,
    ExportedBenchmark,
    VariantExport,
    file_name,
)
from encodeonce.harness.results.facets import estimate
from encodeonce.harness.run.record import Record

SCORER = "encodeonce"


def write(run: VariantExport, folder: Path) -> list[Path]:
    """Write a log for each benchmark."""
    written = []
    for benchmark in run.benchmarks:
        if benchmark.answered:
            log = _log(run, benchmark)
            # Inspect takes a folder's JSON file for a log by the time it begins with.
            time = f"{datetime.fromisoformat(log['eval']['created']):%Y-%m-%dT%H-%M-%S}+00-00"
            path = folder / run.name / f"{time}_{file_name(benchmark.spec.title)}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            content = json.dumps(log, indent=1, ensure_ascii=False)
            # Lone surrogates (of file names that are not UTF-8) become JSON's own escapes.
            path.write_bytes(content.encode("utf-8", "backslashreplace") + b"\n")
            written.append(path)
    return written


def _log(run: VariantExport, benchmark: ExportedBenchmark) -> dict[str, Any]:
    records = [one.record for one in benchmark.answered]
    times = sorted(one.finished_at for one in records if one.finished_at is not None)
    written = run.written.isoformat()
    began, ended = (times[0], times[-1]) if times else (written, written)
    task, model = benchmark.spec.title, f"encodeonce/{run.config.model.path}"
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": file_name(f"{run.fingerprint[:22]}-{run.variant}-{task}"),
            "run_id": run.fingerprint[:22],
            "task_id": file_name(f"{run.fingerprint[:22]}-{task}"),
            "created": _utc(began),
            "task": task,
            "task_args": benchmark.spec.model_dump(mode="json")["options"],
            "dataset": {
                "name": task,
                "samples": benchmark.num_samples,
                "sample_ids": [one.sample.id for one in benchmark.answered],
                "shuffled": False,
            },
            "model": model,
            "config": {},
            "packages": {"encodeonce": version("encodeonce")},
            "metadata": {"variant": run.variant, "fingerprint": run.fingerprint},
            "scorers": [{"name": SCORER}],
        },
        "plan": {
            "steps": [{"solver": "generate", "params": {}}],
            "config": {"max_tokens": run.config.generation.max_new_tokens, "temperature": 0.0},
        },
        "results": _results(records),
        "stats": {
            "started_at": _utc(began),
            "completed_at": _utc(ended),
            "model_usage": {model: _usage(records)},
        },
        "samples": [_sample(model, one) for one in benchmark.answered],
    }


def _results(records: Sequence[Record]) -> dict[str, Any]:
    found = estimate(records)
    metrics = {}
    if (mean := found["accuracy"]) is not None:
        # Two ends rather than one standard error: the interval need not be symmetric.
        metrics = {
            name: {"name": name, "value": mean[key], "params": {}}
            for name, key in (("mean", "mean"), ("ci95_low", "low"), ("ci95_high", "high"))
        }
    return {
        "total_samples": len(records),
        "completed_samples": sum(record.error is None for record in records),
        "scores": [
            {
                "name": SCORER,
                "scorer": SCORER,
                "scored_samples": found["num_scored"],
                "unscored_samples": found["num_samples"] - found["num_scored"],
                "params": {},
                "metrics": metrics,
            }
        ],
    }


def _sample(model: str, one: AnsweredSample) -> dict[str, Any]:
    record, sample = one.record, one.sample
    user = {"role": "user", "content": one.prompt}
    content: dict[str, Any] = {
        "id": sample.id,
        "epoch": 1,
        "input": one.prompt,
        "choices": list(sample.choices) or None,
        "target": list(sample.references) or sample.target,
        "messages": [user],
        "metadata": {
            **sample.tags,
            "group": sample.group,
            "media": [{"kind": ref.kind, "path": ref.path} for ref in sample.media],
            "log_probs": {
                name: value for name, value in record.log_probs.items() if math.isfinite(value)
            },
        },
        "output": {"model": model, "choices": []},
        "total_time": sum(record.seconds.values()),
    }
    if record.text is not None:
        answer = {"role": "assistant", "content": record.text, "source": "generate"}
        content["messages"] = [user, answer]
        content["output"] = {
            "model": model,
            "choices": [{"message": answer, "stop_reason": "stop"}],
            "completion": record.text,
            "usage": _usage([record]),
        }
    if record.score is not None:
        content["scores"] = {SCORER: {"value": record.score, "answer": record.extracted}}
    if record.error is not None:
        told = f"{record.error.type}: {record.error.message}"
        content["error"] = {"message": told, "traceback": "", "traceback_ansi": ""}
    return content


def _usage(records: Sequence[Record]) -> dict[str, int]:
    read = sum(record.num_prompt_tokens for record in records)
    written = sum(record.num_generated_tokens for record in records)
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


def _utc(time: str) -> str:
    """Return a time with its zone, which Inspect asks for."""
    return datetime.fromisoformat(time).astimezone(UTC).isoformat()
