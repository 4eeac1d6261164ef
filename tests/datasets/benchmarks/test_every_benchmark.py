"""The contract, run over the folder listing: a new file in `benchmarks/` is tested by itself.

A benchmark that needs options to be loaded gets its data from an entry of `EXAMPLES`.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from encodeonce.datasets.registry import benchmark_names, load_benchmark
from encodeonce.datasets.sample import Benchmark
from tests.contracts.benchmark import BenchmarkContract
from tests.datasets.benchmarks import image_layouts
from tests.datasets.benchmarks.video_examples import (
    lmms_eval_task_example,
    longvideobench_example,
    mlvu_example,
    video_mme_example,
    video_mmmu_example,
)
from tests.fixtures.clips import write_clip


def questions_example(folder: Path) -> Mapping[str, Any]:
    """Write two questions on one file and one on two; return the options."""
    write_clip(folder / "a.mp4")
    Image.new("RGB", (48, 40), "navy").save(folder / "b.png")
    lines = [
        {"id": 1, "question": "Which?", "video": "a.mp4", "choices": ["x", "y"], "answer": "y"},
        {"id": 2, "question": "How many?", "video": "a.mp4", "answer": 7},
        {
            "id": 3,
            "question": "Same?",
            "media": [{"kind": "image", "path": "b.png"}, {"kind": "video", "path": "a.mp4"}],
            "answer": "No",
        },
    ]
    file = folder / "questions.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return {"file": file, "media_root": folder}


def needle_example(folder: Path) -> Mapping[str, Any]:
    """Return options that hide two needles in each of two clips of the demo's frames."""
    return {
        "folder": folder / "clips",
        "lengths": [4, 6],
        "depths": [0, 1],
        "needles": 2,
        "repeats": 1,
    }


EXAMPLES: Mapping[str, Callable[[Path], Mapping[str, Any]]] = {
    "easy_vqa": image_layouts.easy_vqa,
    "gqa": image_layouts.gqa,
    "llava_bench": image_layouts.llava_bench,
    "llava_description": image_layouts.llava_description,
    "llava_instruct": image_layouts.llava_instruct,
    "lmms_eval_task": lmms_eval_task_example,
    "longvideobench": longvideobench_example,
    "milebench": image_layouts.milebench,
    "mlvu": mlvu_example,
    "mm_vet": image_layouts.mm_vet,
    "mmbench": image_layouts.mmbench,
    "mme": image_layouts.mme,
    "needle": needle_example,
    "questions": questions_example,
    "video_mme": video_mme_example,
    "video_mmmu": video_mmmu_example,
    "vlmevalkit_tsv": image_layouts.vlmevalkit_tsv,
}


class TestEveryBenchmark(BenchmarkContract):
    """The contract for each file of the folder."""

    @pytest.fixture(params=benchmark_names())
    def benchmark(self, request: pytest.FixtureRequest, tmp_path: Path) -> Benchmark:
        write_example = EXAMPLES.get(request.param, lambda folder: {})
        return load_benchmark(request.param, write_example(tmp_path))
