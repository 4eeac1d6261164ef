"""A compressor as what is trained: distilled from the full cache."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from encodeonce.harness.training.compressor.config import TrainCompressorConfig
from encodeonce.harness.training.compressor.lessons import Lessons
from encodeonce.harness.training.compressor.validation import Validator
from encodeonce.harness.training.subject import HeldOut
from encodeonce.models.kv.trained.compressor import Compressor
from encodeonce.models.kv.trained.distillation import student
from encodeonce.models.kv.trained.files import WEIGHTS, write_compressor
from encodeonce.models.kv.trained.header import CompressorHeader
from encodeonce.models.kv.trained.loss import distance


class CompressorSubject:
    """Nets that merge entries of a cache."""

    figures = ("loss", "train_kl")

    def __init__(
        self,
        config: TrainCompressorConfig,
        model: Any,
        compressor: Compressor,
        header: CompressorHeader,
        lessons: Lessons,
        validator: Validator,
    ) -> None:
        """Take what a compressor learns from.

        Args:
            config: the run file.
            model: of transformers; its weights are not trained.
            compressor: with new weights.
            header: what it is.
            lessons: to learn from.
            validator: asks held-out questions.
        """
        assert not any(one.requires_grad for one in model.parameters())
        self._config, self._model, self._compressor = config, model, compressor
        self._header, self._lessons, self._validator = header, lessons, validator

    @property
    def module(self) -> nn.Module:
        """The nets."""
        return self._compressor

    def learn(self, step: int, index: int) -> torch.Tensor:
        """Return the loss and the KL divergence of a lesson."""
        lesson = self._lessons.draw(step, index)
        if self._config.compressor.dropout:
            torch.manual_seed(hash((self._config.optim.seed, step, index)))
        with_hidden = self._config.loss.needs_hidden
        outputs = student(self._model, self._compressor, lesson, with_hidden=with_hidden)
        return torch.stack(
            distance(self._config.loss, outputs, lesson.teacher, lesson.is_real, lesson.is_answer)
        )

    def words(self, figures: Sequence[float]) -> str:
        """Return loss and KL divergence."""
        loss, kl = figures
        return f"loss {loss:.3f} · KL {kl:.3f}"

    def read(self, folder: Path) -> None:
        """Take the weights of a checkpoint."""
        self._compressor.load_state_dict(load_file(folder / WEIGHTS))

    def write(self, folder: Path) -> None:
        """Write the compressor."""
        write_compressor(folder, self._header, self._compressor)

    def measure(self, folder: Path) -> HeldOut:
        """Ask the held-out questions."""
        return self._validator.measure(folder)

    def is_better(self, one: HeldOut, other: HeldOut) -> bool:
        """Compare by the run file's metric."""
        metric = self._config.stop.metric
        mine, its = one["ccm"][metric], other["ccm"][metric]
        if mine is None or its is None:
            return True
        return bool(mine < its) if metric == "kl" else bool(mine > its)
