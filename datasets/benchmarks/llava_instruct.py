"""LLaVA's instruction data (Liu et al., 2023, arXiv:2304.08485; 2310.03744): conversations.

Training data, and so no measure of a model that was trained on them. They serve to compare variants
of one model (``scoring: nll``, as FastCache, arXiv:2503.08461, does on the part about GQA's images)
and to exercise it with many questions on one image.

Every human turn is a sample of its own, with the published reply as target. What was said before
precedes the question as a transcript of turns, published replies included: the words
LLaVA's training conditions on, but in one turn of the model's chat template instead of several.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.metrics.rouge import legacy_figure, rouge_l
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.readers.llava_conversations import Conversation, read_conversations
from encodeonce.datasets.readers.published import complete
from encodeonce.datasets.sample import About, BenchmarkError, Sample, Score, Scored

logger = logging.getLogger(__name__)


class BENCHMARK(BaseModel):
    """Turns of conversations about an image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measure: ClassVar[str] = "ROUGE-L"
    about: ClassVar[About] = About(
        title="LLaVA-Instruct: conversations about images, for NLL and ROUGE-L",
        media="images",
        source="https://arxiv.org/abs/2304.08485",
        download=(
            "Download llava_v1_5_mix665k.json or a file of "
            "https://huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K (CC BY 4.0, and "
            "OpenAI's terms), and the images as https://github.com/haotian-liu/LLaVA says under "
            "'Visual Instruction Tuning'. Option `file` is the JSON file, option `images` the "
            "folder that its image paths (coco/train2017/..., gqa/images/...) are relative to."
        ),
    )

    file: LocalPath = Field(
        description="A JSON file of LLaVA's layout.", examples=["/data/llava_v1_5_mix665k.json"]
    )
    images: LocalPath = Field(
        description="Folder that image paths are relative to.", examples=["/data"]
    )
    image_prefix: str = Field(
        default="",
        description="Only conversations about images whose paths begin with this, e.g. 'gqa/'. The "
        "other images need not be there.",
    )
    earlier_turns: Literal["transcript", "omit"] = Field(
        default="transcript",
        description="'transcript': the earlier turns, with the published replies, precede a "
        "question; 'omit': every question is asked as if it were the first.",
    )

    @property
    def media_root(self) -> Path:
        """The folder of images."""
        return self.images

    def samples(self) -> Iterator[Sample]:
        """Yield the turns in the order of the file; conversations without an image are left out.

        Ids are numbered, because the files use one id for several conversations.

        Raises:
            BenchmarkError: data are missing or not as published.
        """
        found = list(enumerate(read_conversations(self.file, self.about.download)))
        asked = [(number, entry) for number, entry in found if self._is_asked(entry)]
        logger.info("%s: %d of %d conversations are asked", self.file, len(asked), len(found))
        if not asked:
            raise BenchmarkError(
                f"{self.file}: none of {len(found)} conversations is about an image"
                + (f" whose path begins with {self.image_prefix!r}" if self.image_prefix else "")
            )
        placed = (
            (entry.place, sample)
            for number, entry in asked
            for sample in self._turns(number, entry)
        )
        yield from complete(placed, self.images, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return the question, after what was said before."""
        return sample.question

    def score(self, sample: Sample, answer: str) -> Score:
        """Score the F1 of ROUGE-L against the published reply."""
        return Score(value=rouge_l(answer, sample.target), extracted=answer.strip() or None)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Return ROUGE-L as the package `rouge` computes it, blind to repetition."""
        return legacy_figure(scored)

    def _is_asked(self, entry: Conversation) -> bool:
        return bool(entry.images) and all(
            ref.path.startswith(self.image_prefix) for ref in entry.images
        )

    def _turns(self, number: int, entry: Conversation) -> Iterator[Sample]:
        said: list[str] = []
        for turn_number, turn in enumerate(entry.turns):
            question = turn.human
            if said and self.earlier_turns == "transcript":
                # The names that LLaVA-1.5 calls the speakers (its template "v1").
                question = "\n".join([*said, f"USER: {turn.human}"])
            yield Sample(
                id=f"{number}/{entry.name}/{turn_number}",
                media=entry.images,
                question=question,
                target=turn.gpt,
                group=" ".join(ref.path for ref in entry.images),
                tags={"turn": "first" if turn_number == 0 else "later"},
            )
            said += [f"USER: {turn.human}", f"ASSISTANT: {turn.gpt}"]
