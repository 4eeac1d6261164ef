"""MileBench (Song et al., 2024, arXiv:2404.18532): long contexts of many images, 29 data sets.

Prompts and scorers are those of github.com/MileBench/MileBench (``utils.py``, ``evaluate.py``): the
accuracy where there are options or something to be found, ROUGE-L of the package `rouge` elsewhere.
Two differences. Images come before the words here; where the words refer to one, they give its
number, as the authors do when they combine images into one. And nothing is cut to fit a model: the
authors drop images and words from the front.
"""

import string
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.metrics.milebench import chosen_option, holds_needle, holds_text, plain
from encodeonce.datasets.metrics.rouge import rouge_l_legacy
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.prompts import lettered
from encodeonce.datasets.readers.json_object import json_object
from encodeonce.datasets.readers.published import FolderBenchmark, complete, parse, require
from encodeonce.datasets.readers.questions import Row
from encodeonce.datasets.sample import About, BenchmarkError, Sample, Score, Scored

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Realistic Temporal": (
        *("ActionLocalization", "ActionPrediction", "ActionSequence", "CharacterOrder"),
        *("CounterfactualInference", "EgocentricNavigation", "MovingAttribute"),
        *("MovingDirection", "ObjectExistence", "ObjectInteraction", "ObjectShuffle"),
        *("SceneTransition", "StateChange"),
    ),
    "Realistic Semantic": (
        *("ALFRED", "CLEVR-Change", "DocVQA", "IEdit", "MMCoQA", "MultiModalQA", "nuscenes"),
        *("OCR-VQA", "SlideVQA", "Spot-the-Diff", "TQA", "WebQA", "WikiVQA"),
    ),
    "Diagnostic": ("TextNeedleInAHaystack", "ImageNeedleInAHaystack", "GPR1200"),
}
"""The data sets as ``score.py`` groups them."""
DATASETS = tuple(name for names in GROUPS.values() for name in names)

UNLETTERED = "GPR1200"
"""It has more options than there are letters; they are listed without."""
# Fewer than 6, and more than 31 images (``get_image_quantity_level``).
_MEDIUM, _MANY = 6, 32


class _Instance(BaseModel):
    model_config = ConfigDict(strict=True)

    context: str = Field(min_length=1)
    images_path: list[str] = Field(min_length=1)
    choice_list: list[str] = []


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True)

    sample_id: int | str
    task_instruction_id: int
    task_instance: _Instance
    response: str | int | float


class _Meta(BaseModel):
    model_config = ConfigDict(strict=True)

    task_instruction: list[str] = Field(min_length=1)
    question_type: Literal["multi-choice", "open-ended"]


class BENCHMARK(FolderBenchmark):
    """Temporal and semantic tasks on 2 to 109 images, needles in haystacks, image retrieval."""

    measure: ClassVar[str] = "accuracy or ROUGE-L, by data set"
    about: ClassVar[About] = About(
        title="MileBench: long contexts of many images, 29 data sets of several kinds",
        media="images",
        source="https://arxiv.org/abs/2404.18532",
        download=(
            "Download the archives of "
            "https://huggingface.co/datasets/FreedomIntelligence/MileBench (CC BY-NC 4.0) and "
            "unpack them into one folder, so that it holds ALFRED/ALFRED.json, ALFRED/images/ and "
            "so on for each data set. Option `folder` is that folder."
        ),
    )

    folder: LocalPath = Field(
        description="The folder that holds the data sets' folders.", examples=["/data/MileBench"]
    )
    datasets: tuple[str, ...] = Field(
        default=DATASETS,
        min_length=1,
        description="Only these data sets. The others need not be there.",
    )

    def samples(self) -> Iterator[Sample]:
        """Yield the samples, data set by data set, in the order of the files.

        Raises:
            BenchmarkError: data are missing or not as published.
        """
        placed = (pair for name in self.datasets for pair in self._dataset(name))
        yield from complete(placed, self.folder, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return the instruction, the context, and the options if there are any."""
        if not sample.choices:
            return sample.question
        options = sample.choices
        if sample.tags["data set"] != UNLETTERED:
            options = tuple(lettered(options))
        return "\n".join([sample.question, "Choice list: ", *options, "Your answer is: "])

    def score(self, sample: Sample, answer: str) -> Score:
        """Score by the rule of the sample's data set."""
        extracted = plain(answer) or None
        if sample.choices:
            chosen = chosen_option(answer, sample.choices)
            named = None if chosen is None else _name(sample.choices, chosen)
            return Score(value=float(named == sample.target), extracted=named)
        if "NeedleInAHaystack" in sample.tags["data set"]:
            value = float(holds_needle(answer, sample.target))
        elif sample.tags["data set"] == "MMCoQA":
            value = float(holds_text(answer, sample.target))
        else:
            value = rouge_l_legacy(plain(answer), plain(sample.target))
        return Score(value=value, extracted=extracted)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Return the mean of each whole group of data sets, and each data set's score."""
        by_name: dict[str, list[float]] = {}
        for answer in scored:
            by_name.setdefault(answer.tags["data set"], []).append(answer.value)
        scores = {
            name: 100 * sum(by_name[name]) / len(by_name[name])
            for name in DATASETS
            if name in by_name
        }
        means = {
            f"{group}, mean of {len(names)} data sets, %": sum(map(scores.__getitem__, names))
            / len(names)
            for group, names in GROUPS.items()
            if set(names) <= set(scores)
        }
        return {**means, **{f"{name}, %": score for name, score in scores.items()}}

    def _dataset(self, name: str) -> Iterator[tuple[str, Sample]]:
        if name not in DATASETS:
            raise BenchmarkError(
                f"datasets: MileBench has no {name!r}; it has {', '.join(DATASETS)}"
            )
        path = require(self.folder / name / f"{name}.json", self.about.download)
        content = json_object(path)
        meta = parse(Row(place=f"{path}, meta_data", content=content.get("meta_data", {})), _Meta)
        entries = content.get("data")
        if not isinstance(entries, list):
            raise BenchmarkError(f"{path}: expected a list of samples as 'data'")
        for number, entry in enumerate(entries, start=1):
            row = Row(place=f"{path}, sample {number}", content=entry)
            yield row.place, _sample(name, meta, row)


def _sample(name: str, meta: _Meta, row: Row) -> Sample:
    entry = parse(row, _Entry)
    instance = entry.task_instance
    if not 0 <= entry.task_instruction_id < len(meta.task_instruction):
        raise BenchmarkError(
            f"{row.place}: task_instruction_id is {entry.task_instruction_id}, and there are "
            f"{len(meta.task_instruction)} instructions"
        )
    response = str(entry.response)
    if not plain(response):
        raise BenchmarkError(f"{row.place}: the response {response!r} says nothing")
    choices = tuple(instance.choice_list)
    if meta.question_type == "multi-choice" and not choices:
        raise BenchmarkError(f"{row.place}: there is no choice_list")
    paths = [f"{name}/images/{path}" for path in instance.images_path]
    words = _numbered(instance.context, len(paths))
    return Sample(
        id=f"{name}/{entry.sample_id}",
        media=tuple(MediaRef(kind="image", path=path) for path in paths),
        question=f"{meta.task_instruction[entry.task_instruction_id]}\n{words}",
        choices=choices,
        target=_target(row.place, response, choices),
        group=" ".join(paths),
        tags={
            "group": next(group for group, names in GROUPS.items() if name in names),
            "data set": name,
            "images": _quantity(len(paths)),
        },
    )


def _target(place: str, response: str, choices: Sequence[str]) -> str:
    """Return what the answer should be; with options, the right one's name."""
    if not choices:
        return response
    texts = [plain(choice) for choice in choices]
    if plain(response) not in texts:
        raise BenchmarkError(
            f"{place}: the response {response!r} is none of the options {', '.join(choices)}"
        )
    return _name(choices, texts.index(plain(response)))


def _name(choices: Sequence[str], position: int) -> str:
    """Return an option's letter; where there are more options than letters, its text."""
    if len(choices) > len(string.ascii_uppercase):
        return choices[position]
    return string.ascii_uppercase[position]


def _numbered(context: str, num_images: int) -> str:
    """Return the context with the number of each image in the image's place."""
    for number in range(1, num_images + 1):
        for place in (f"{{image#{number}}}", f"{{table#{number}}}"):
            context = context.replace(place, f"<Image {number}> ")
    return context


def _quantity(num_images: int) -> str:
    return "few" if num_images < _MEDIUM else "medium" if num_images < _MANY else "many"
