"""Trains a compressor: steps, validations, checkpoints, and when to stop.

A step follows from the run file and its number alone. So a training that was killed goes on with
the bits that it would have had (on one processor), and the number of processes changes the rounding
of sums at most.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from encodeonce.harness.training.compressor.config import TrainCompressorConfig
from encodeonce.harness.training.compressor.folder import State, TrainingFolder
from encodeonce.harness.training.compressor.lessons import Lessons
from encodeonce.harness.training.compressor.validation import Validator
from encodeonce.harness.training.ranks import Ranks
from encodeonce.models.kv.trained.compressor import Compressor
from encodeonce.models.kv.trained.distillation import student
from encodeonce.models.kv.trained.header import CompressorHeader
from encodeonce.models.kv.trained.loss import distance

OnStep = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all, and words about them."""

_PLATEAU_PATIENCE = 2


class Trainer:
    """One training, from its last checkpoint on."""

    def __init__(
        self,
        config: TrainCompressorConfig,
        model: Any,
        compressor: Compressor,
        lessons: Lessons,
        validator: Validator,
        folder: TrainingFolder,
        ranks: Ranks,
    ) -> None:
        """Take what a training consists of.

        Args:
            config: the run file.
            model: of transformers; its weights are not trained.
            compressor: with new weights.
            lessons: to learn from.
            validator: asks held-out questions.
            folder: has been created.
            ranks: this process among those that train together.
        """
        assert not any(one.requires_grad for one in model.parameters())
        self._config, self._model, self._compressor = config, model, compressor
        self._lessons, self._validator = lessons, validator
        self._folder, self._ranks = folder, ranks
        self._parameters = list(compressor.parameters())
        self._optimizer = torch.optim.Adam(self._parameters, lr=config.optim.lr)
        self._state = folder.state()
        if self._state.step:
            folder.load(self._state.step, compressor, self._optimizer)

    def run(self, header: CompressorHeader, on_step: OnStep) -> State:
        """Go on to the end, or to where it is to stop; return the state there."""
        state, optim = self._state, self._config.optim
        began_s = time.monotonic()
        sums = torch.zeros(2)
        has_ended = self._is_over(state, is_late=False)
        while not has_ended:
            figures = self._step(state.step, self._rate(state))
            state.step += 1
            sums += figures
            loss, kl = figures.tolist()
            on_step(state.step, optim.max_steps, f"loss {loss:.3f} · KL {kl:.3f}")
            is_late = self._is_late(began_s)
            every = self._config.validation.every_steps
            if state.step % every == 0 or state.step == optim.max_steps or is_late:
                steps = state.step - (state.history[-1]["step"] if state.history else 0)
                self._judge(state, header, sums / steps)
                sums = torch.zeros(2)
            has_ended = self._is_over(state, is_late=is_late)
            has_ended, state.rate_factor = self._ranks.agree((has_ended, state.rate_factor))
        return state

    def _step(self, step: int, rate: float) -> torch.Tensor:
        """Take a step; return the mean loss and KL divergence of this process's lessons.

        Raises:
            ValueError: the gradients are not finite.
        """
        optim = self._config.optim
        self._compressor.train()
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad()
        sums = torch.zeros(2)
        for index in self._ranks.mine(optim.prefixes_per_step):
            lesson = self._lessons.draw(step, index)
            if self._config.compressor.dropout:
                torch.manual_seed(hash((optim.seed, step, index)))
            with_hidden = self._config.loss.needs_hidden
            outputs = student(self._model, self._compressor, lesson, with_hidden=with_hidden)
            loss, divergence = distance(
                self._config.loss, outputs, lesson.teacher, lesson.is_real, lesson.is_answer
            )
            torch.autograd.backward(loss / optim.prefixes_per_step)
            sums += torch.stack([loss.detach(), divergence.detach()]).cpu()
        for parameter in self._parameters:
            if parameter.grad is None:  # no lesson of this process
                parameter.grad = torch.zeros_like(parameter)
        self._ranks.add_up([one.grad for one in self._parameters if one.grad is not None])
        norm = float(nn.utils.clip_grad_norm_(self._parameters, optim.clip))
        if not math.isfinite(norm):
            raise ValueError(
                f"training diverged: the gradient of step {step + 1} has the norm {norm}. Lower "
                f"optim.lr ({optim.lr:g}), and choose another output folder; what this one holds "
                "is kept"
            )
        self._optimizer.step()
        return sums / len(self._ranks.mine(optim.prefixes_per_step))

    def _judge(self, state: State, header: CompressorHeader, means: torch.Tensor) -> None:
        """Validate, and write a checkpoint; the first process alone does."""
        if not self._ranks.is_first:
            return
        start = time.monotonic()
        self._compressor.eval()
        unfinished = self._folder.begin(self._compressor, header, self._optimizer)
        loss, divergence = means.tolist()
        figures = self._validator.measure(unfinished)
        state.history.append(
            {
                "step": state.step,
                "loss": loss,
                "train_kl": divergence,
                "rate": self._rate(state),
                "held_out": figures,
                "validation_s": time.monotonic() - start,
            }
        )
        self._note_gain(state)
        self._folder.finish(state)

    def _note_gain(self, state: State) -> None:
        if not state.best_step or self._is_better(state.history[-1], state.best()):
            state.best_step, state.since_best = state.step, 0
            return
        state.since_best += 1
        if self._config.optim.schedule == "plateau" and state.since_best % _PLATEAU_PATIENCE == 0:
            state.rate_factor /= 2

    def _is_better(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        metric = self._config.stop.metric
        mine, its = one["held_out"]["ccm"][metric], other["held_out"]["ccm"][metric]
        if mine is None or its is None:
            return True
        return bool(mine < its) if metric == "kl" else bool(mine > its)

    def _rate(self, state: State) -> float:
        """Return the learning rate of the next step."""
        optim = self._config.optim
        warm = min(1.0, (state.step + 1) / max(1, optim.warmup_steps))
        left = 1.0 - min(1.0, state.step / optim.max_steps)
        shape = {
            "linear": left,
            "cosine": 0.5 * (1.0 + math.cos(math.pi * (1.0 - left))),
            "constant": 1.0,
            "plateau": state.rate_factor,
        }
        return optim.lr * warm * shape[optim.schedule]

    def _is_late(self, began_s: float) -> bool:
        minutes = self._config.stop.max_minutes
        return minutes is not None and time.monotonic() - began_s >= 60 * minutes

    def _is_over(self, state: State, *, is_late: bool) -> bool:
        patience = self._config.stop.patience
        return (
            is_late
            or state.step >= self._config.optim.max_steps
            or (patience is not None and state.since_best >= patience)
        )
