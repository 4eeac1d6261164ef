"""MME (Fu et al., 2023, arXiv:2306.13394): two questions on each picture, answered by yes or no.

The right answer to one is yes, to the other no. A subtask's score is 100 x (accuracy + accuracy+),
where accuracy+ is the share of pictures with both answers right: at most 200, so 2,000 for the ten
subtasks of perception and 800 for the four of cognition.

Prompt and scorer are those of the published files and of ``eval_tool/calculation.py``: the question
as it stands there, which asks for yes or no, and the answer's first four letters.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import ClassVar, Literal, get_args

from pydantic import Field

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.readers.published import FolderBenchmark, require, unique
from encodeonce.datasets.sample import About, BenchmarkError, Sample, Score, Scored

PERCEPTION = (
    *("existence", "count", "position", "color", "posters"),
    *("celebrity", "scene", "landmark", "artwork", "OCR"),
)
COGNITION = (
    *("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"),
)
Subtask = Literal[
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark",
    "artwork", "OCR", "commonsense_reasoning", "numerical_calculation", "text_translation",
    "code_reasoning",
]  # fmt: skip

_IMAGE_SUFFIXES = (".jpg", ".png", ".jpeg")
_NUM_LETTERS = 4
Pair = tuple[Scored, Scored]


class BENCHMARK(FolderBenchmark):
    """Perception and cognition in 14 subtasks, 2,374 questions."""

    measure: ClassVar[str] = "accuracy"
    about: ClassVar[About] = About(
        title="MME: perception and cognition in 14 subtasks, yes or no",
        media="images",
        source="https://arxiv.org/abs/2306.13394",
        download=(
            "Download with `hf download darkyarding/MME MME_Benchmark_release_version.zip "
            "--repo-type dataset --local-dir MME` (the authors' link; academic research only) and "
            "unpack it. Option `folder` is the folder in it that holds existence/, count/ and the "
            "other subtasks."
        ),
    )

    folder: LocalPath = Field(
        description="The folder that holds the subtasks' folders.",
        examples=["/data/MME/MME_Benchmark_release_version"],
    )
    subtasks: tuple[Subtask, ...] = Field(
        default=get_args(Subtask),
        min_length=1,
        description="Only these subtasks. The data of the others need not be there.",
    )

    def samples(self) -> Iterator[Sample]:
        """Yield the questions, subtask by subtask, pictures by name.

        Raises:
            BenchmarkError: data are missing or not as published.
        """
        yield from unique(placed for subtask in self.subtasks for placed in self._subtask(subtask))

    def prompt(self, sample: Sample) -> str:
        """Return the question as published: it ends with "Please answer yes or no."."""
        return sample.question

    def score(self, sample: Sample, answer: str) -> Score:
        """Score yes, or else no, among the answer's first four letters."""
        start = answer.strip().lower()[:_NUM_LETTERS]
        extracted = "Yes" if "yes" in start else "No" if "no" in start else None
        return Score(value=float(extracted == sample.target), extracted=extracted)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Return the scores: in total, for perception and cognition, and for each subtask.

        A picture counts if both of its questions were scored. A sum is given only if all of its
        subtasks are there.
        """
        scores = {
            subtask: _subtask_score(pairs)
            for subtask in (*PERCEPTION, *COGNITION)
            if (pairs := _pairs(scored, subtask))
        }
        sums = (("all", PERCEPTION + COGNITION), ("perception", PERCEPTION))
        figures = {
            f"{name}, of {200 * len(subtasks)}": sum(scores[subtask] for subtask in subtasks)
            for name, subtasks in (*sums, ("cognition", COGNITION))
            if set(subtasks) <= set(scores)
        }
        return {**figures, **{f"{name}, of 200": score for name, score in scores.items()}}

    def official_files(self, scored: Sequence[Scored]) -> Mapping[str, str]:
        """Return the files that ``eval_tool/calculation.py`` reads, one per subtask."""
        return {
            f"{subtask}.txt": "".join(_line(answer) for pair in pairs for answer in pair)
            for subtask in (*PERCEPTION, *COGNITION)
            if (pairs := _pairs(scored, subtask))
        }

    def _subtask(self, subtask: Subtask) -> Iterator[tuple[str, Sample]]:
        folder = require(self.folder / subtask, self.about.download)
        # Five subtasks have pictures and questions in folders of their own.
        is_split = (folder / "questions_answers_YN").is_dir()
        texts = folder / "questions_answers_YN" if is_split else folder
        pictures = require(folder / "images" if is_split else folder, self.about.download)
        names = {
            path.stem: path.name for path in pictures.iterdir() if path.suffix in _IMAGE_SUFFIXES
        }
        files = sorted(texts.glob("*.txt"))
        without = [file.name for file in files if file.stem not in names]
        if without or not files:
            what = f"there is no picture for {without[0]}" if without else "there are no questions"
            raise BenchmarkError(f"{texts}: {what}. {self.about.download}")
        for file in files:
            picture = (pictures / names[file.stem]).relative_to(self.folder)
            yield from _questions(file, subtask, str(picture))


def _questions(file: Path, subtask: Subtask, picture: str) -> Iterator[tuple[str, Sample]]:
    """Yield the two questions of a file: ``question<TAB>Yes`` and ``question<TAB>No``."""
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{file} cannot be read: {error}") from error
    if len(lines) != 2:
        raise BenchmarkError(f"{file}: expected two questions, got {len(lines)} lines")
    for number, line in enumerate(lines, start=1):
        place = f"{file}, line {number}"
        question, _, answer = line.rpartition("\t")
        if not question.strip() or answer.strip() not in ("Yes", "No"):
            raise BenchmarkError(
                f"{place}: expected a question, a tab, and Yes or No; got {line!r:.120}"
            )
        yield (
            place,
            Sample(
                id=f"{subtask}/{file.stem}/{number}",
                media=(MediaRef(kind="image", path=picture),),
                question=question.strip(),
                target=answer.strip(),
                group=picture,
                tags={
                    "kind": "perception" if subtask in PERCEPTION else "cognition",
                    "subtask": subtask,
                },
            ),
        )


def _pairs(scored: Sequence[Scored], subtask: str) -> list[Pair]:
    """Return the two answers on each picture of a subtask that has two."""
    by_picture: dict[str, list[Scored]] = {}
    for answer in scored:
        if answer.tags["subtask"] == subtask:
            by_picture.setdefault(answer.group, []).append(answer)
    return [(found[0], found[1]) for found in by_picture.values() if len(found) == 2]


def _subtask_score(pairs: Sequence[Pair]) -> float:
    accuracy = sum(first.value + second.value for first, second in pairs) / (2 * len(pairs))
    plus = sum(first.value * second.value for first, second in pairs) / len(pairs)
    return 100 * (accuracy + plus)


def _line(answer: Scored) -> str:
    name = PurePath(answer.group).name
    text = " ".join(answer.text.split())  # a tab or line break would be another column or line
    return f"{name}\t{answer.question}\t{answer.target}\t{text}\n"
