"""A LoRA adapter as what is trained: it learns to write right answers."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from encodeonce.harness.training.adapter.config import TrainAdapterConfig
from encodeonce.harness.training.adapter.judge import Judge
from encodeonce.harness.training.adapter.lessons import AdapterLessons, Lesson
from encodeonce.harness.training.media import answers_of
from encodeonce.harness.training.subject import HeldOut
from encodeonce.models.adapters.checkpoint import read_adapter
from encodeonce.models.adapters.heads import LearntHead, write_head
from encodeonce.models.adapters.learning import LearntLora, answer_loss, head_loss
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.adapters.writing import write_adapter
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.language.prefix import Prefix

_TITLE = "trained"


class AdapterSubject:
    """An adapter beside a decoder, which has none while a step is taken."""

    figures = ("loss",)

    def __init__(
        self,
        config: TrainAdapterConfig,
        decoder: PrefixDecoder,
        lora: LearntLora,
        head: LearntHead | None,
        lessons: AdapterLessons,
        judge: Judge,
    ) -> None:
        """Take what an adapter learns from.

        Args:
            config: the run file.
            decoder: of the base, whose weights are not trained.
            lora: the new factors, on the decoder's device.
            head: a new head, there as well, if answers are classes.
            lessons: to learn from.
            judge: asks held-out questions.
        """
        assert not any(one.requires_grad for one in decoder.model.parameters())
        self._config, self._decoder = config, decoder
        self._lora, self._head = lora, head
        self._lessons, self._judge = lessons, judge

    @property
    def module(self) -> nn.Module:
        """The factors, and the head."""
        return self._lora if self._head is None else nn.ModuleList([self._lora, self._head])

    def learn(self, step: int, index: int) -> torch.Tensor:
        """Return the mean cross entropy of a lesson's answers, all about one prefix."""
        lesson = self._lessons.draw(step, index)
        if self._config.lora.dropout:
            torch.manual_seed(hash((self._config.optim.seed, step, index)))
        with self._lora.attached():
            prefix = self._decoder.prefill_with_gradients(lesson.visuals)
            return self._loss(prefix, lesson)[None]

    def _loss(self, prefix: Prefix, lesson: Lesson) -> torch.Tensor:
        model = self._decoder.model
        asked = [prefix.suffix(prompt) for prompt in lesson.prompts]
        if self._head is not None:
            numbers = [self._head.classes.index(answer) for answer in lesson.answers]
            head = self._head.head()
            return head_loss(model, prefix, head, list(zip(asked, numbers, strict=True)))
        answers = answers_of(self._decoder, lesson.answers, self._config.data.answer_tokens)
        return answer_loss(model, prefix, list(zip(asked, answers, strict=True)))

    def words(self, figures: Sequence[float]) -> str:
        """Return the loss."""
        return f"loss {figures[0]:.3f}"

    def read(self, folder: Path) -> None:
        """Take the factors of a checkpoint."""
        adapter = read_adapter(AdapterSpec(path=str(folder), label=_TITLE))
        self._lora.load(adapter, self._decoder.model)
        if self._head is not None:
            self._head.load(adapter.head)

    def write(self, folder: Path) -> None:
        """Write the adapter as peft does."""
        form = self._config.lora.form()
        write_adapter(folder, self._lora.products(), form, self._config.model.path)
        if self._head is not None:
            write_head(folder, self._head.head())

    def measure(self, folder: Path) -> HeldOut:
        """Answer the held-out questions under the adapter in a folder, as a run would."""
        self._decoder.load_adapters([AdapterSpec(path=str(folder), label=_TITLE)])
        try:
            marks = self._judge.marks(adapter=0)
        finally:
            self._decoder.drop_adapters()
        return {
            title: {"accuracy": one.estimate.mean, "loss": one.loss} for title, one in marks.items()
        }

    def is_better(self, one: HeldOut, other: HeldOut) -> bool:
        """Compare by the run file's metric, and by the loss where accuracies are equal."""
        mine, its = _merit(one), _merit(other)
        if self._config.stop.metric == "loss":
            return mine[1] > its[1]
        return mine > its


def _merit(found: HeldOut) -> tuple[float, float]:
    """Return the mean accuracy, and the negative mean loss."""
    accuracies = [one["accuracy"] for one in found.values()]
    losses = [one["loss"] for one in found.values()]
    return sum(accuracies) / len(found), -sum(losses) / len(found)
