"""LLaVA-Description: a thousand detailed descriptions of COCO images.

The file ``detail_1k.json`` holds a thousand entries of ``detail_23k.json`` of LLaVA-Instruct (Liu
et al., 2023, arXiv:2304.08485), with which Elastic Cache (Liu et al., 2024, arXiv:2407.18121) and
PrefixKV (Wang et al., 2024, arXiv:2412.03409) measure compressed caches: the perplexity of the
description under teacher forcing (``scoring: nll``; their figure is the exponential of the NLL a
token over all samples), and ROUGE-L.

PrefixKV's ROUGE compares with what the same model writes without compression, not with the
published description, which is the target here.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.metrics.rouge import legacy_figure, rouge_l
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.readers.llava_conversations import Conversation, read_conversations
from encodeonce.datasets.readers.published import complete
from encodeonce.datasets.sample import About, BenchmarkError, Sample, Score, Scored


class BENCHMARK(BaseModel):
    """One instruction and one description, written by GPT-4 from captions and boxes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measure: ClassVar[str] = "ROUGE-L"
    about: ClassVar[About] = About(
        title="LLaVA-Description: detailed descriptions of COCO images; NLL, ROUGE-L",
        media="images",
        source="https://arxiv.org/abs/2412.03409",
        download=(
            "Download detail_1k.json by the link 'LLaVA-Description' in "
            "https://github.com/THU-MIG/PrefixKV (CC BY 4.0, and OpenAI's terms) and COCO's "
            "train2017.zip from https://cocodataset.org. Option `file` is the JSON file, option "
            "`images` the folder that its image paths (coco/train2017/...) are relative to."
        ),
    )

    file: LocalPath = Field(
        description="detail_1k.json, or another file of this layout.",
        examples=["/data/detail_1k.json"],
    )
    images: LocalPath = Field(
        description="Folder that image paths are relative to.", examples=["/data"]
    )

    @property
    def media_root(self) -> Path:
        """The folder of images."""
        return self.images

    def samples(self) -> Iterator[Sample]:
        """Yield the entries in the order of the file.

        Raises:
            BenchmarkError: data are missing or not as published.
        """
        found = read_conversations(self.file, self.about.download)
        placed = ((entry.place, _sample(entry)) for entry in found)
        yield from complete(placed, self.images, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return the instruction."""
        return sample.question

    def score(self, sample: Sample, answer: str) -> Score:
        """Score the F1 of ROUGE-L against the published description."""
        return Score(value=rouge_l(answer, sample.target), extracted=answer.strip() or None)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Return ROUGE-L as the package `rouge` computes it, blind to repetition."""
        return legacy_figure(scored)


def _sample(entry: Conversation) -> Sample:
    if not entry.images:
        raise BenchmarkError(f"{entry.place}: there is no image")
    first = entry.turns[0]
    return Sample(
        id=entry.name,
        media=entry.images,
        question=first.human,
        target=first.gpt,
        group=" ".join(ref.path for ref in entry.images),
    )
