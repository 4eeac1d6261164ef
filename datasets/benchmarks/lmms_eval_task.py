"""A task of lmms-eval, from its YAML file, if that file is data only.

Tasks that ship with lmms-eval call Python code from their YAML (``!function``), all that show
pictures or videos. It is never run: such fields are refused, and the message says what may take
their place in a copy of yours. ``include`` is followed; groups of tasks are refused.

Two things differ from lmms-eval. Pre- and post-prompts of ``lmms_eval_specific_kwargs`` are put
around the text, as the tasks' own functions put them; lmms-eval itself ignores them where
``doc_to_text`` is no function. And a column that holds a list, within ``doc_to_text``, becomes
lettered options. ``generation_kwargs`` are up to the run file; sampling is refused.
"""

import logging
import string
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.metrics.multiple_choice import score_choice
from encodeonce.datasets.metrics.verbatim import score_verbatim
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.readers.embedded_images import save_image_bytes
from encodeonce.datasets.readers.published import require_media
from encodeonce.datasets.readers.task_file import Metric, TaskFile, read_task_file
from encodeonce.datasets.readers.task_table import load_table, select_columns
from encodeonce.datasets.readers.templates import columns_of, fill
from encodeonce.datasets.sample import About, BenchmarkError, Sample, Score

logger = logging.getLogger(__name__)

_VIDEO = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".mpg", ".mpeg", ".ts", ".gif")
_SCALAR = (str, int, float)
_IMAGE = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


EMBEDDED = "embedded"
"""Folder under media_root that a table's pictures are written to."""


class BENCHMARK(BaseModel):
    """What the task file asks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: ClassVar[About] = About(
        title="Any task of lmms-eval whose YAML file is data only",
        media="both",
        source="https://github.com/EvolvingLMMs-Lab/lmms-eval",
        download=(
            "Nothing is downloaded. The task's table must be a local file or folder (parquet, "
            "JSON, CSV, Arrow) and its media files under `media_root`; pictures in the table "
            "itself are written to embedded/ there. Fields with `!function` are refused: the "
            "message says what to write in their place."
        ),
    )

    file: LocalPath = Field(
        description="The task's YAML file; workers read it, too.", examples=["my_task.yaml"]
    )
    media_root: LocalPath = Field(
        description="Folder that the paths in the doc_to_visual column are relative to.",
        examples=["/data/my_task"],
    )
    dataset: LocalPath | None = Field(
        default=None,
        description="File or folder with the table, in place of the task's dataset_path.",
    )
    kwargs_of: str = Field(
        default="default",
        description="Entry of lmms_eval_specific_kwargs to take pre_prompt and post_prompt from.",
    )
    metric: str | None = Field(
        default=None, description="Which of the task's metrics to score by, if it lists several."
    )
    tags: tuple[str, ...] = Field(
        default=(), description="Columns to break results down by, e.g. [category, duration]."
    )

    def samples(self) -> Iterator[Sample]:
        """Yield the samples in the order of the rows; their ids are lmms-eval's ``doc_id``.

        Raises:
            BenchmarkError: the task file, the table or a row cannot be used, or media are missing.
        """
        task, metric = self._task, self._metric
        _require_greedy(task)
        table = load_table(task, base=self.file.parent, place=self.dataset)
        rows = select_columns(table, self._columns(table.column_names))
        samples = []
        for number, row in enumerate(rows):
            try:
                samples.append(self._sample(str(number), row, metric))
            except BenchmarkError as error:
                raise BenchmarkError(f"{self.file}, row {number} of its table: {error}") from error
        require_media(self.media_root, samples, self.about.download)
        yield from samples

    def prompt(self, sample: Sample) -> str:
        """Return description, pre-prompt, text and post-prompt."""
        prompts = self._prompts
        return f"{self._task.description}{prompts.before}{sample.question}{prompts.after}"

    def score(self, sample: Sample, answer: str) -> Score:
        """Score by the task's metric.

        ``exact_match`` as lmms-eval does; ``acc`` by the letter of the option named.
        """
        metric = self._metric
        if metric.metric == "acc":
            return score_choice(sample, answer)
        return score_verbatim(
            sample,
            answer,
            ignore_case=metric.ignore_case,
            ignore_punctuation=metric.ignore_punctuation,
            ignore_numbers=metric.ignore_numbers,
            regexes_to_ignore=metric.regexes_to_ignore,
        )

    @cached_property
    def _task(self) -> TaskFile:
        return read_task_file(self.file)

    @cached_property
    def _metric(self) -> Metric:
        """The one metric to score by."""
        listed = {metric.metric: metric for metric in self._task.metric_list}
        name = self.metric or next(iter(listed))
        if (len(listed) > 1 and self.metric is None) or name not in listed:
            raise BenchmarkError(
                f"metric: {self.file} lists {', '.join(listed)}; write one of them, got "
                f"{self.metric!r}"
            )
        if name == "acc" and self._task.doc_to_choice is None:
            raise BenchmarkError(f"{self.file}: metric 'acc' needs doc_to_choice")
        return listed[name]

    @cached_property
    def _prompts(self) -> "_Prompts":
        """The pre- and post-prompt, chosen as lmms-eval chooses."""
        kwargs = self._task.lmms_eval_specific_kwargs
        chosen = kwargs.get(self.kwargs_of, kwargs.get("default", kwargs))
        if not isinstance(chosen, dict):
            raise BenchmarkError(
                f"{self.file}: lmms_eval_specific_kwargs.{self.kwargs_of} is {chosen!r:.80}; "
                f"expected {{pre_prompt: …, post_prompt: …}}"
            )
        return _Prompts(str(chosen.get("pre_prompt", "")), str(chosen.get("post_prompt", "")))

    def _columns(self, held: list[str]) -> list[str]:
        """Return the columns that the task reads."""
        task = self._task
        names = [*_visual_columns(task), *columns_of(task.doc_to_text, held), *self.tags]
        if isinstance(task.doc_to_choice, str):
            names.append(task.doc_to_choice)
        if isinstance(task.doc_to_target, str):
            names.extend(columns_of(task.doc_to_target, held))
        if task.cluster_key is not None:
            names.append(task.cluster_key)
        return names

    def _sample(self, name: str, row: Mapping[str, Any], metric: Metric) -> Sample:
        task = self._task
        columns = _visual_columns(task)
        media = tuple(ref for name in columns for ref in _media(name, row, self.media_root))
        choices = _choices(task, row)
        targets = _targets(task, row)
        if choices:
            letter = _letter(targets, choices)
            is_letter = metric.metric == "acc"
            targets = (letter if is_letter else choices[string.ascii_uppercase.index(letter)],)
        return Sample(
            id=name,
            media=media,
            question=fill(task.doc_to_text, row),
            choices=choices,
            target=str(targets[0]),
            references=tuple(map(str, targets)) if len(targets) > 1 else (),
            group=str(row[task.cluster_key]) if task.cluster_key else _paths(media),
            tags={column: str(row[column]) for column in self.tags},
        )


class _Prompts(NamedTuple):
    before: str
    after: str


def _require_greedy(task: TaskFile) -> None:
    kwargs = task.generation_kwargs
    if kwargs.get("do_sample") or kwargs.get("temperature") or kwargs.get("num_beams", 1) != 1:
        raise BenchmarkError(
            f"task {task.task!r}: generation_kwargs {kwargs} ask for sampling or beams; answers "
            f"are generated greedily here. Leave do_sample, temperature and num_beams out"
        )
    if "max_new_tokens" in kwargs:
        logger.warning(
            "task %r: generation_kwargs are not read; write into the run file: "
            "generation: {max_new_tokens: %s}",
            task.task,
            kwargs["max_new_tokens"],
        )


def _visual_columns(task: TaskFile) -> list[str]:
    return [task.doc_to_visual] if isinstance(task.doc_to_visual, str) else task.doc_to_visual


def _media(column: str, row: Mapping[str, Any], root: Path) -> Iterator[MediaRef]:
    """Yield a column's media; pictures in the table itself are written to files first."""
    value = row[column]
    for item in value if isinstance(value, list) else [value]:
        path = item
        if isinstance(item, dict) and isinstance(item.get("bytes"), bytes):
            try:
                name = save_image_bytes(item["bytes"], root / EMBEDDED, "media_root")
            except ValueError as error:
                raise BenchmarkError(f"column {column!r}: {error}") from error
            path = f"{EMBEDDED}/{name}"
        elif isinstance(item, dict):
            path = item.get("path")
        suffix = PurePath(path).suffix.lower() if isinstance(path, str) else None
        # A picture's file is named after Pillow's format, whatever that is.
        if path is not item or suffix in _IMAGE:
            yield MediaRef(kind="image", path=str(path))
        elif suffix in _VIDEO:
            yield MediaRef(kind="video", path=path)
        else:
            raise BenchmarkError(
                f"column {column!r}: expected the path of a video ({', '.join(_VIDEO)}) or image "
                f"({', '.join(_IMAGE)}), got {path!r:.80}"
            )


def _paths(media: tuple[MediaRef, ...]) -> str:
    return " ".join(ref.path for ref in media)


def _choices(task: TaskFile, row: Mapping[str, Any]) -> tuple[str, ...]:
    listed = task.doc_to_choice
    if listed is None:
        return ()
    if isinstance(listed, dict):
        return tuple(listed.values())
    found = row[listed] if isinstance(listed, str) else listed
    if not isinstance(found, list) or not 2 <= len(found) <= len(string.ascii_uppercase):
        raise BenchmarkError(f"doc_to_choice: expected 2 to 26 options, got {found!r:.80}")
    return tuple(map(str, found))


def _targets(task: TaskFile, row: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Return the right answers: texts, or positions among the options."""
    wanted = task.doc_to_target
    value: Any = wanted
    if isinstance(wanted, str):
        value = row[wanted] if wanted in row else fill(wanted, row)
    found = value if isinstance(value, list) else [value]
    if not found or any(isinstance(one, bool) or not isinstance(one, _SCALAR) for one in found):
        raise BenchmarkError(f"doc_to_target: expected texts or numbers, got {value!r:.80}")
    return tuple(one if isinstance(one, int) else str(one) for one in found)


def _letter(targets: tuple[str | int, ...], choices: tuple[str, ...]) -> str:
    """Return the letter of a target: a position from 0, a letter, or the text of one option."""
    letters = list(string.ascii_uppercase[: len(choices)])
    if len(targets) == 1:
        (target,) = targets
        if isinstance(target, str) and choices.count(target) == 1:
            return letters[choices.index(target)]
        if target in letters:
            return str(target)
        if str(target).isdigit() and int(target) < len(letters):
            return letters[int(target)]
    raise BenchmarkError(
        f"doc_to_target: {targets!r:.80} is neither a position from 0, nor one of the letters "
        f"{', '.join(letters)}, nor the text of exactly one of {list(choices)}"
    )
