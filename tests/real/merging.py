"""Trains ccm on passages of prose, by the trainer of ``encodeonce train compressor``.

The prompt is text alone, so text is what is merged: one net for keys and one for values a layer.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from encodeonce.harness.training.compressor.config import CompressorStopSpec
from encodeonce.harness.training.compressor.subject import CompressorSubject
from encodeonce.harness.training.config import OptimSpec, ValidationSpec
from encodeonce.harness.training.folder import State, TrainingFolder
from encodeonce.harness.training.ranks import Ranks
from encodeonce.harness.training.trainer import Trainer, silent
from encodeonce.models.kv.trained.compressor import Compressor, new_compressor
from encodeonce.models.kv.trained.distillation import Lesson, student
from encodeonce.models.kv.trained.files import (
    WEIGHTS,
    header_text,
    load_weights,
    write_compressor,
)
from encodeonce.models.kv.trained.header import (
    HEADER,
    CompressorForm,
    CompressorHeader,
    read_header,
)
from encodeonce.models.kv.trained.loss import mean_kl
from encodeonce.models.kv.trained.loss_spec import LossSpec
from tests.real.passages import ProseLessons

LOSS = LossSpec(name="kl")
NUM_SINKS = 4
"""First tokens that stay as they are."""
_TRAINED = "trained"
_NUM_TIMED, _NUM_VALIDATIONS = 4, 5
_SHARE_FOR_STEPS = 0.9
"""Of the budget; the rest is for validations, and for steps that take longer than those timed."""


def form(factor: int, num_sinks: int = NUM_SINKS) -> CompressorForm:
    """Return the form of a compressor of text."""
    return CompressorForm(factor=factor, nets="shared", text="compress", num_sinks=num_sinks)


def header(model: Any, of: CompressorForm) -> CompressorHeader:
    """Return the header of a compressor of all layers of a model."""
    config = model.config
    return CompressorHeader(
        **of.model_dump(),
        layers=tuple(range(config.num_hidden_layers)),
        head_width=config.head_dim,
        model="SmolLM2-135M-Instruct",
    )


def untrained(folder: Path, model: Any, of: CompressorForm) -> Path:
    """Write a compressor as training begins with it: the mean of each group."""
    head = header(model, of)
    folder.mkdir(parents=True, exist_ok=True)
    write_compressor(folder, head, _new(head))
    return folder


def held_out_kl(model: Any, compressor: Compressor, lessons: Sequence[Lesson]) -> float:
    """Return the mean KL divergence from the full cache, nats a token."""
    with torch.no_grad():
        found = [
            mean_kl(
                student(model, compressor, lesson, with_hidden=False),
                lesson.teacher,
                lesson.is_answer,
            )
            for lesson in lessons
        ]
    return float(torch.stack(found).mean())


class ProseValidator:
    """Judges checkpoints by passages that are neither trained on nor reported."""

    def __init__(self, model: Any, lessons: Sequence[Lesson], spent_s: float) -> None:
        """Take the passages' lessons, and the processor seconds of a training that goes on."""
        self._model, self._lessons = model, lessons
        self._start = time.process_time() - spent_s

    def measure(self, folder: Path) -> dict[str, dict[str, float]]:
        """Return the KL divergence under the compressor in a folder, and the seconds so far."""
        compressor = load_weights(folder, read_header(folder))
        found = held_out_kl(self._model, compressor, self._lessons)
        return {"ccm": {"kl": found, "cpu_s": time.process_time() - self._start}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A compressor that has been trained."""

    folder: Path
    state: State

    @property
    def kl(self) -> float:
        """In validation, at the best step; nats a token."""
        return float(self.state.best()["held_out"]["ccm"]["kl"])

    @property
    def cpu_s(self) -> float:
        """Processor seconds of all steps and validations, but what a killed process lost."""
        return float(self.state.history[-1]["held_out"]["ccm"]["cpu_s"])


def train(
    model: Any,
    of: CompressorForm,
    lessons: ProseLessons,
    validation: Sequence[Lesson],
    folder: Path,
    *,
    max_steps: int | None = None,
    cpu_s: float = 0.0,
    lr: float = 2e-3,
) -> Trained:
    """Train a compressor, or go on where a process was killed.

    Args:
        model: of transformers, without gradients.
        of: the compressor's form.
        lessons: to learn from.
        validation: choose the best step.
        folder: to write to; one that has been written to goes on with the steps planned then.
        max_steps: how many; None for as many as fit into ``cpu_s``, by timing a few.
        cpu_s: processor seconds.
        lr: learning rate at its highest.
    """
    plan = folder / "steps.json"
    if plan.exists():
        max_steps = int(json.loads(plan.read_text()))
    elif max_steps is None:
        start = time.process_time()
        with TrainingFolder(folder / "timed") as timed:
            _run(model, of, lessons, validation[:1], timed, _NUM_TIMED, lr)
        step_s = (time.process_time() - start) / _NUM_TIMED
        max_steps = max(1, int((_SHARE_FOR_STEPS * cpu_s - _NUM_TIMED * step_s) / step_s))
    folder.mkdir(parents=True, exist_ok=True)
    plan.write_text(json.dumps(max_steps))
    with TrainingFolder(folder / _TRAINED) as output:
        state = _run(model, of, lessons, validation, output, max_steps, lr)
        words = f"Trained on prose for {state.best_step} steps.\n"
        texts = {HEADER: header_text(header(model, of)), "README.md": words.encode()}
        output.publish(state.best_step, [WEIGHTS], texts)
        return Trained(folder=output.path, state=state)


def is_trained(folder: Path) -> bool:
    """Return whether a compressor has been trained in a folder to the end."""
    return (folder / _TRAINED / HEADER).exists()


def _run(
    model: Any,
    of: CompressorForm,
    lessons: ProseLessons,
    validation: Sequence[Lesson],
    folder: TrainingFolder,
    max_steps: int,
    lr: float,
) -> State:
    config: Any = SimpleNamespace(
        compressor=SimpleNamespace(dropout=0.0),
        loss=LOSS,
        optim=OptimSpec(lr=lr, max_steps=max_steps, warmup_steps=min(20, max_steps // 5)),
        validation=ValidationSpec(every_steps=-(-max_steps // _NUM_VALIDATIONS)),
        stop=CompressorStopSpec(),
    )
    asked = {"form": of.model_dump(), "lr": lr, "max_steps": max_steps, "prose": lessons.sha256}
    folder.create(asked)
    history = folder.state().history
    spent_s = history[-1]["held_out"]["ccm"]["cpu_s"] if history else 0.0
    head = header(model, of)
    found: Any = lessons
    validator: Any = ProseValidator(model, validation, spent_s)
    subject = CompressorSubject(config, model, _new(head), head, found, validator)
    return Trainer(config, subject, folder, Ranks()).run(silent)


def _new(head: CompressorHeader) -> Compressor:
    return new_compressor(head.form(), len(head.layers), head.head_width, dropout=0.0, seed=0)
