"""A run's folder without a run: questions, and records of two variants' answers."""

import json
from dataclasses import replace
from pathlib import Path

from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.plan import make_plan
from encodeonce.harness.run.record import Record, SampleError
from encodeonce.harness.run.variant import BASELINE

OTHER = "int4/snapkv@0.5"
QUESTIONS = (
    {"id": "a-1", "video": "a.mp4", "answer": "B", "choices": ["a car", "a bus"], "kind": "what"},
    {"id": "a-2", "video": "a.mp4", "answer": "2", "choices": [], "kind": "count"},
    {"id": "b-1", "video": "b.mp4", "answer": "A", "choices": ["red", "blue"], "kind": "what"},
    {"id": "b-2", "video": "b.mp4", "answer": "07", "choices": [], "kind": "count"},
)
TEXTS = {"a-1": "B", "a-2": "=3", "b-1": "A. red", "b-2": "07"}
SCORES = {"a-1": 1.0, "a-2": 0.0, "b-1": 1.0, "b-2": 1.0}


def write_run(folder: Path, *, scoring: str = "generate") -> Path:
    """Write a finished run: the baseline answers all, the other variant fails on one sample."""
    lines = [
        {**question, "question": f"Question {question['id']}?", "tags": {"kind": question["kind"]}}
        for question in QUESTIONS
    ]
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "questions.jsonl").write_text(text, encoding="utf-8")
    options = {"file": str(folder / "questions.jsonl"), "media_root": str(folder)}
    content = {
        "model": {"path": "llava-hf/llava-1.5-7b-hf"},
        "benchmarks": [
            {"name": "questions", "label": "my task", "options": options, "scoring": scoring}
        ],
        "output": str(folder / "run"),
    }
    config = RunConfig.model_validate(content)
    run = RunFolder.create(
        config,
        checkpoint_sha256="c",
        samples_sha256=make_plan(config).samples_sha256,
        variants={"weights": {}, "kv": {}},
    )
    with run.writer("records") as file:
        for record in reversed([_record(n, scoring) for n in range(len(QUESTIONS))]):
            file.write(record.to_dict())
            other = replace(record, variant=OTHER)
            if record.sample == "b-1":
                error = SampleError(type="UndecodableMedia", message="torn")
                other = replace(other, text=None, score=None, error=error)
            file.write(other.to_dict())
    return folder / "run"


def _record(number: int, scoring: str) -> Record:
    question = QUESTIONS[number]
    name = str(question["id"])
    record = Record(
        run="r",
        benchmark="my task",
        sample=name,
        group=str(question["video"]),
        variant=BASELINE.name,
        question=f"Question {name}?",
        target=str(question["answer"]),
        num_prompt_tokens=100 + number,
        num_generated_tokens=2,
        seconds={"generate": 0.5},
    )
    if scoring == "nll":
        return replace(
            record, log_probs={"reference": -3.0 * number}, num_scored_tokens={"reference": 3}
        )
    return replace(record, text=TEXTS[name], score=SCORES[name])
