"""Read lmms-eval's task files as far as they are plain data. Their code is never run.

Source: ``TaskConfig`` of github.com/EvolvingLMMs-Lab/lmms-eval (lmms_eval/api/task.py) and its
docs/guides/task_guide.md.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from encodeonce.datasets.refusal_words import got
from encodeonce.datasets.refusals import Refused, checked
from encodeonce.datasets.sample import BenchmarkError
from encodeonce.datasets.strict_yaml import StrictLoader, YamlError, parse_yaml

_INSTEAD = {
    "doc_to_visual": "the name of the column that holds paths of images or videos, or a list of "
    "such names",
    "doc_to_text": "a column's name, or a text with {{column}} in it",
    "doc_to_target": "a column's name, or a text with {{column}} in it",
    "doc_to_choice": "a column's name, or a list of options",
    "doc_to_messages": "leave it out: media stand before the text",
    "process_docs": "leave it out, and filter or rename the table's rows beforehand",
    "process_results": "leave it out, and name a metric in metric_list: exact_match or acc",
    "metric_list": "a list of {metric: exact_match} or {metric: acc}, aggregation: mean",
}


class Code(NamedTuple):
    """Where a task file says ``!function``: the name of Python code, which is not run."""

    name: str


class _Loader(StrictLoader):
    """Knows plain data, and lmms-eval's one tag."""

    yaml_constructors = {
        **StrictLoader.yaml_constructors,
        "!function": lambda loader, node: Code(str(loader.construct_scalar(node))),
    }


class Metric(BaseModel):
    """An entry of ``metric_list``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    metric: Literal["exact_match", "acc"]
    aggregation: Literal["mean"] = "mean"
    higher_is_better: Literal[True] = True
    ignore_case: bool = False
    ignore_punctuation: bool = False
    ignore_numbers: bool = False
    regexes_to_ignore: list[str] = []

    @field_validator("regexes_to_ignore")
    @classmethod
    def _compile(cls, regexes: list[str]) -> list[str]:
        for regex in regexes:
            try:
                re.compile(regex)
            except re.error as error:
                raise ValueError(f"{regex!r} is no regular expression: {error}") from error
        return regexes


class TaskFile(BaseModel):
    """The fields of a task file. Those typed `Any` change neither questions nor scores."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task: str
    dataset_path: str
    dataset_name: str | None = None
    dataset_kwargs: dict[str, Any] = {}
    test_split: str | None = None
    validation_split: str | None = None
    output_type: Literal["generate_until"] = "generate_until"
    doc_to_visual: str | list[str]
    doc_to_text: str
    doc_to_choice: str | list[str] | dict[str, str] | None = None
    doc_to_target: str | int
    description: str = ""
    metric_list: list[Metric] = Field(min_length=1)
    lmms_eval_specific_kwargs: dict[str, Any] = {}
    generation_kwargs: dict[str, Any] = {}
    cluster_key: str | None = None
    num_fewshot: Literal[0] | None = None
    repeats: Literal[1] = 1
    filter_list: None = None

    task_alias: Any = None
    tag: Any = None
    group: Any = None
    group_alias: Any = None
    metadata: Any = None
    training_split: Any = None
    fewshot_split: Any = None
    fewshot_config: Any = None
    fewshot_delimiter: Any = None
    target_delimiter: Any = None
    score_key: Any = None
    full_docs: Any = None
    model_specific_generation_kwargs: Any = None
    should_decontaminate: Any = None
    doc_to_decontamination_query: Any = None


def read_task_file(path: Path) -> TaskFile:
    """Read a task file, and those that it includes.

    Raises:
        BenchmarkError: a file cannot be read, is a group of tasks, or a field calls code, is
            unknown or holds something that is not supported; the message names every such field.
    """
    content = _merged(path, ())
    if isinstance(members := content.get("task"), list):
        listed = ", ".join(map(_member, members[:3])) + (", …" if len(members) > 3 else "")
        raise BenchmarkError(
            f"{path} is a group of tasks ({listed}), which has no questions of its "
            "own; write the file of one of them, and list the benchmark once for each"
        )
    if codes := list(_codes(content, "")):
        called = "".join(
            f"\n  {place}: !function {code.name}. Allowed: {_instead(place)}"
            for place, code in codes
        )
        raise BenchmarkError(
            f"{path} has fields that call Python code, which is never run here:{called}"
        )
    try:
        return checked(TaskFile, content)
    except Refused as error:
        problems = "".join(f"\n  {problem.words}" for problem in error.problems)
        raise BenchmarkError(f"{path}:{problems}") from error


def _merged(path: Path, outer: tuple[Path, ...]) -> dict[str, Any]:
    """Return a file's fields over those of the files it includes, the first of which wins."""
    if path in outer:
        raise BenchmarkError(f"{path} includes itself, through {', '.join(map(str, outer[1:]))}")
    try:
        content = parse_yaml(path.read_bytes(), _Loader).value
    except OSError as error:
        raise BenchmarkError(f"task file {path} cannot be read: {error}") from error
    except YamlError as error:
        raise BenchmarkError(
            f"{path} is no plain YAML (of all tags, only !function is known): {error}"
        ) from error
    if not isinstance(content, dict):
        raise BenchmarkError(
            f"{path}: a task file is a mapping of fields; got {type(content).__name__}"
        )
    written = content.pop("include", [])
    included = [written] if isinstance(written, str) else written
    if not isinstance(included, list) or not all(isinstance(name, str) for name in included):
        raise BenchmarkError(
            f"{path}: include must be a file's name or a list of them{got(written)}"
        )
    merged: dict[str, Any] = {}
    for name in reversed(included):
        merged.update(_merged(path.parent / name, (*outer, path)))
    return {**merged, **content}


def _member(task: Any) -> str:
    """Return the name of a group's member, which may be a group itself."""
    return str(task.get("group", task.get("task", task))) if isinstance(task, dict) else str(task)


def _codes(value: Any, place: str) -> Iterator[tuple[str, Code]]:
    if isinstance(value, Code):
        yield place, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _codes(inner, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _codes(inner, f"{place}[{position}]")


def _instead(place: str) -> str:
    field = place.partition(".")[0].partition("[")[0]
    return _INSTEAD.get(field, "leave it out")
