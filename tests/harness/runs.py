"""Run folders written by hand, for tests of the code that reads them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.jsonl import JsonLinesWriter
from encodeonce.harness.run.meanings import describe_variants
from encodeonce.harness.run.record import Record
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import NONE, WeightsSpec


def a_record(sample: str, score: float | None = 1.0, **changes: Any) -> Record:
    """Return an answered record. Samples that begin with the same letter share a video."""
    fields: dict[str, Any] = {
        "run": "r",
        "benchmark": "b",
        "sample": sample,
        "group": f"video-{sample[0]}",
        "question": f"What is {sample}?",
        "target": "A",
        "text": "A" if score else "B",
        "score": score,
        "num_visual_units": 8,
        "num_prompt_tokens": 100,
        "num_generated_tokens": 2,
        "seconds": {"prefill": 0.5},
    }
    return Record(**{**fields, **changes})


def write_run(
    path: Path,
    records: Sequence[Record],
    *,
    uncached: Sequence[Record] = (),
    weights: Sequence[WeightsSpec] = (NONE,),
    kv: Sequence[KVSpec] = (FULL,),
    **config: Any,
) -> RunFolder:
    """Write a run's folder without running anything."""
    content = {
        "model": {"path": "demo", "dtype": "float32"},
        "benchmarks": [{"name": "demo"}],
        "output": str(path),
        "weights": [spec.model_dump() for spec in weights],
        "kv": [spec.model_dump() for spec in kv],
        **config,
    }
    folder = RunFolder.create(
        RunConfig.model_validate(content),
        checkpoint_sha256="c" * 64,
        samples_sha256="q" * 64,
        variants=describe_variants(weights, kv, lambda file: "f" * 64),
    )
    for name, lines in (("records", records), ("uncached", uncached)):
        with JsonLinesWriter(path / f"{name}.jsonl") as file:
            for record in lines:
                file.write(json.loads(json.dumps(record.to_dict())))
    return folder
