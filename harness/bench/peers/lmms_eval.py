"""lmms-eval's own command line on the job, with its class for LLaVA or ``--model encodeonce``.

The task is made here, from the job's questions. Pictures reach lmms-eval as its tasks hand them
over, as PIL images. None of its classes shows LLaVA-1.5 a video: its own gets a video's frames as
pictures, decoded for each question; ours gets the path of the file.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from encodeonce.harness.bench.peers.job import Done, Took, now, since
from encodeonce.harness.bench.peers.pictures import pictures
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import MediaGroup, make_plan
from encodeonce.harness.workers.session import Session

TASK = """\
task: peers
dataset_path: json
dataset_kwargs: {{data_files: {{test: {questions}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function peers_task.visuals
doc_to_text: !function peers_task.prompt
doc_to_target: id
generation_kwargs: {{max_new_tokens: {max_new_tokens}, temperature: 0, do_sample: false}}
process_results: !function peers_task.right
metric_list: [{{metric: right, aggregation: mean, higher_is_better: true}}]
"""
FUNCTIONS = "from encodeonce.harness.bench.peers.lmms_eval import prompt, right, visuals\n"

Visuals = Sequence[Image.Image | str]


@dataclass(slots=True)
class _Counted:
    """What the model was seen to do."""

    ready_s: float = 0.0
    took: Took = Took(0.0, 0.0)
    texts: dict[str, str] = field(default_factory=dict)
    num_encoded: int = 0
    num_prefilled: int | None = None


_shown: dict[str, Callable[[], Visuals]] = {}
"""How to get each question's media, by its id: the task's functions find them here."""


def visuals(doc: Mapping[str, Any]) -> Visuals:
    """Return the pictures of one question, or its video's path: a function of the task."""
    return _shown[doc["id"]]()


def prompt(doc: Mapping[str, Any], lmms_eval_specific_kwargs: object = None) -> str:
    """Return one question: a function of the task."""
    return str(doc["prompt"])


def right(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Return a score, which nobody reads: a function of the task."""
    return {"right": 0.0}


def by_command_line(config: RunConfig, started_s: float, *, is_ours: bool) -> Done:
    """Answer the job by ``lmms-eval --model …``.

    Args:
        config: the run. `is_ours` finds a video's features in its store, and a picture's that it
            has met before: pictures reach it without their files, and are known by their pixels.
        started_s: when the process began.
        is_ours: whether encodeonce is the model, instead of ``llava_hf``.

    Raises:
        ValueError: lmms-eval failed, which it says and goes on.
    """
    plan = make_plan(config)
    with Session(config) as session, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write_task(folder, plan.groups, config.generation.max_new_tokens)
        for group in plan.groups:
            shown = _as_given(group) if is_ours else partial(pictures, session, group)
            _shown.update({sample.id: shown for sample in group.samples})
        counted = _watch(is_ours=is_ours)
        name, arguments = _ours(config) if is_ours else _stock(config)
        sys.argv = [
            *("lmms_eval", "--model", name, "--model_args", arguments, "--tasks", "peers"),
            *("--include_path", str(folder), "--batch_size", "1"),
            *("--output_path", str(folder / "out"), "--log_samples"),
        ]
        from lmms_eval.__main__ import cli_evaluate

        cli_evaluate()
    if not counted.texts:
        raise ValueError("lmms-eval gave no answers: see above")
    return Done(
        load_s=counted.ready_s - started_s,
        answer_s=counted.took.answer_s,
        cpu_s=counted.took.cpu_s,
        texts=counted.texts,
        num_encoded=counted.num_encoded,
        num_prefilled=counted.num_prefilled,
        stages={},
    )


def _write_task(folder: Path, groups: Sequence[MediaGroup], max_new_tokens: int) -> None:
    questions = folder / "questions.json"
    rows = [
        json.dumps({"id": sample.id, "prompt": prompt})
        for group in groups
        for sample, prompt in zip(group.samples, group.prompts, strict=True)
    ]
    questions.write_text("\n".join(rows), encoding="utf-8")
    text = TASK.format(questions=json.dumps(str(questions)), max_new_tokens=max_new_tokens)
    (folder / "peers.yaml").write_text(text, encoding="utf-8")
    (folder / "peers_task.py").write_text(FUNCTIONS, encoding="utf-8")


def _as_given(group: MediaGroup) -> Callable[[], Visuals]:
    def read() -> Visuals:
        paths = [(ref.kind, group.root / ref.path) for ref in group.media]
        return [str(path) if kind == "video" else Image.open(path) for kind, path in paths]

    return read


def _stock(config: RunConfig) -> tuple[str, str]:
    dtype = config.model.dtype
    return "llava_hf", f"pretrained={config.model.path},dtype={dtype},device=cpu,device_map=cpu"


def _ours(config: RunConfig) -> tuple[str, str]:
    frames = config.frames.model_dump(mode="json")
    return "encodeonce", ",".join(
        (
            f"pretrained={config.model.path},dtype={config.model.dtype},device=cpu",
            f"store={config.cache.path}",
            *(f"frames.{name}={value}" for name, value in frames.items() if value is not None),
        )
    )


def _watch(*, is_ours: bool) -> _Counted:
    """Note what the model that lmms-eval is about to make will do."""
    from lmms_eval.api.instance import unwrap_generation_output
    from lmms_eval.api.model import lmms

    counted = _Counted()
    create = lmms.create_from_arg_string.__func__

    def created(cls: type[Any], *arguments: Any, **named: Any) -> Any:
        model = create(cls, *arguments, **named)
        answer = model.generate_until
        if not is_ours:
            _count_work(model.model, counted)

        def timed(requests: Sequence[Any]) -> list[Any]:
            start = now()
            found = list(answer(requests))
            counted.took = since(start)
            if is_ours:
                counted.num_encoded = model._answerer.take_work().cache.num_encoded
            for request, one in zip(requests, found, strict=True):
                text, _ = unwrap_generation_output(one)
                doc = model.task_dict[request.task_name]["test"][request.doc_id]
                counted.texts[doc["id"]] = str(text).strip()
            return found

        model.generate_until = timed
        counted.ready_s = now().answer_s
        return model

    lmms.create_from_arg_string = classmethod(created)
    return counted


def _count_work(model: Any, counted: _Counted) -> None:
    """Count what a model of transformers encodes and prefills."""
    tower, generate = model.model.vision_tower, model.generate

    def encoded(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        pixels = named["pixel_values"] if "pixel_values" in named else arguments[0]
        counted.num_encoded += len(pixels)

    def generating(**named: Any) -> Any:
        counted.num_prefilled = (counted.num_prefilled or 0) + named["input_ids"].shape[1]
        return generate(**named)

    tower.register_forward_pre_hook(encoded, with_kwargs=True)
    model.generate = generating
