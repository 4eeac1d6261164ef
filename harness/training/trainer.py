"""Trains: steps, validations, checkpoints, and when to stop.

A step follows from the run file and its number alone. So a training that was killed goes on with
the bits that it would have had (on one processor), and the number of processes changes the rounding
of sums at most.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import nn

from encodeonce.harness.training.config import OptimSpec, StopSpec, ValidationSpec
from encodeonce.harness.training.folder import State, TrainingFolder, TrainingFolderError
from encodeonce.harness.training.ranks import Ranks
from encodeonce.harness.training.subject import Subject

OnStep = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all, and words about them."""

_PLATEAU_PATIENCE = 2


class Course(Protocol):
    """The parts of a run file that say how it is trained."""

    @property
    def optim(self) -> OptimSpec:
        """How steps are taken."""
        ...

    @property
    def validation(self) -> ValidationSpec:
        """How often it is judged."""
        ...

    @property
    def stop(self) -> StopSpec:
        """When to end."""
        ...


class Trainer:
    """One training, from its last checkpoint on."""

    def __init__(
        self, config: Course, subject: Subject, folder: TrainingFolder, ranks: Ranks
    ) -> None:
        """Take what a training consists of.

        Args:
            config: the run file.
            subject: what is trained, with new weights.
            folder: has been created.
            ranks: this process among those that train together.
        """
        self._config, self._subject = config, subject
        self._folder, self._ranks = folder, ranks
        self._parameters = list(subject.module.parameters())
        self._optimizer = torch.optim.Adam(self._parameters, lr=config.optim.lr)
        self._state = folder.state()
        if self._state.step:
            folder.load(self._state.step, subject, self._optimizer)

    def run(self, on_step: OnStep) -> State:
        """Go on to the end, or to where it is to stop; return the state there."""
        state, optim = self._state, self._config.optim
        began_s = time.monotonic()
        sums = torch.zeros(len(self._subject.figures))
        has_ended = self._is_over(state, is_late=False)
        while not has_ended:
            figures = self._step(state.step, self._rate(state))
            state.step += 1
            sums += figures
            on_step(state.step, optim.max_steps, self._subject.words(figures.tolist()))
            is_late = self._is_late(began_s)
            every = self._config.validation.every_steps
            if state.step % every == 0 or state.step == optim.max_steps or is_late:
                steps = state.step - (state.history[-1]["step"] if state.history else 0)
                self._judge(state, sums / steps)
                sums = torch.zeros_like(sums)
            has_ended = self._is_over(state, is_late=is_late)
            has_ended, state.rate_factor = self._ranks.agree((has_ended, state.rate_factor))
        return state

    def _step(self, step: int, rate: float) -> torch.Tensor:
        """Take a step; return the means of the figures of this process's lessons.

        Raises:
            ValueError: the gradients are not finite.
        """
        optim = self._config.optim
        self._subject.module.train()
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad()
        sums = torch.zeros(len(self._subject.figures))
        for index in self._ranks.mine(optim.prefixes_per_step):
            figures = self._subject.learn(step, index)
            torch.autograd.backward(figures[0] / optim.prefixes_per_step)
            sums += figures.detach().cpu()
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

    def _judge(self, state: State, means: torch.Tensor) -> None:
        """Validate, and write a checkpoint; the first process alone does."""
        if not self._ranks.is_first:
            return
        start = time.monotonic()
        self._subject.module.eval()
        unfinished = self._folder.begin(self._subject, self._optimizer)
        figures = self._subject.measure(unfinished)
        state.history.append(
            {
                "step": state.step,
                **dict(zip(self._subject.figures, means.tolist(), strict=True)),
                "rate": self._rate(state),
                "held_out": figures,
                "validation_s": time.monotonic() - start,
            }
        )
        self._note_gain(state)
        self._folder.finish(state)

    def _note_gain(self, state: State) -> None:
        last = state.history[-1]["held_out"]
        if not state.best_step or self._subject.is_better(last, state.best()["held_out"]):
            state.best_step, state.since_best = state.step, 0
            return
        state.since_best += 1
        if self._config.optim.schedule == "plateau" and state.since_best % _PLATEAU_PATIENCE == 0:
            state.rate_factor /= 2

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


def check_ranks(ranks: Ranks, optim: OptimSpec) -> None:
    """Refuse more processes than a step has lessons.

    Raises:
        ValueError: there are more.
    """
    if ranks.world > optim.prefixes_per_step:
        raise ValueError(
            f"optim.prefixes_per_step: {ranks.world} processes share a step's lessons, so at least "
            f"so many are needed; got {optim.prefixes_per_step}"
        )


def create(folder: TrainingFolder, asked: Mapping[str, Any], ranks: Ranks) -> None:
    """Make the folder, or open it again; what the first process refuses, all refuse.

    Raises:
        TrainingFolderError: see `TrainingFolder.create`.
    """
    refusal = None
    if ranks.is_first:
        try:
            folder.create(asked)
        except ValueError as error:
            refusal = str(error)
    refusal = ranks.agree(refusal)
    if refusal is not None:
        raise TrainingFolderError(refusal)


def silent(done: int, total: int, words: str) -> None:
    """Say nothing of a step."""
