"""Stage 2: projector and language model learn to read the clip out of the visual tokens.

The tower's features are computed once. Each step lays some of them out as clips, prefills the
visual prefix once, and asks several questions of the same keys and values.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from encodeonce.models.demo.architecture import PATCHES_PER_FRAME
from encodeonce.models.demo.data import BACKGROUND, NUM_DIGITS, Frames, normalize
from encodeonce.models.demo.language_loss import Scaffold, compute_losses
from encodeonce.models.demo.lessons import (
    Layout,
    Lesson,
    draw_clip,
    pack_lessons,
    read_layout,
    teach_drills,
    teach_mixed,
    teach_questions,
    teach_transcripts,
)

logger = logging.getLogger(__name__)

ENCODING_BATCH_SIZE = 500
PEAK_LEARNING_RATE = 1e-3
LOG_EVERY_STEPS = 50
SAVE_EVERY_STEPS = 250
SCAFFOLD_WEIGHT = 0.3

Teach = Callable[[np.random.Generator, Layout, Sequence[int]], list[Lesson]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Some steps in which one thing is taught."""

    teach: Teach
    num_steps: int
    tokens_per_frame: int
    """Visual tokens shown of each frame, at their own positions, half of them on the digit."""
    clips_per_step: int


# Single questions alone stay at chance: the model must find the frames first, and learns what a
# question means from many answers per clip (measured: drills on 8 tokens a frame give 700 answers
# a second to learn from, the benchmark's own questions on all 64 give 90). Only the last course
# shows every visual token, as the model will be asked.
COURSES = (
    Course(teach=teach_transcripts, num_steps=150, tokens_per_frame=8, clips_per_step=12),
    Course(teach=teach_drills, num_steps=1000, tokens_per_frame=8, clips_per_step=12),
    Course(teach=teach_mixed, num_steps=300, tokens_per_frame=8, clips_per_step=12),
    Course(teach=teach_questions, num_steps=300, tokens_per_frame=8, clips_per_step=12),
    Course(teach=teach_questions, num_steps=300, tokens_per_frame=64, clips_per_step=6),
)


class FeatureLibrary:
    """The tower's features of many frames, found by digit.

    The tower sees one frame at a time, so any frames together make a new clip.
    """

    def __init__(
        self, model: LlavaForConditionalGeneration, frames: Frames, num_frames: int
    ) -> None:
        """Encode the first `num_frames` of the frames."""
        digits = frames.digits[:num_frames]
        self._features = _encode(model, frames.pixels[:num_frames])
        self._has_ink = (frames.patches[:num_frames] != BACKGROUND).numpy()
        self._members = [torch.nonzero(digits == digit)[:, 0] for digit in range(NUM_DIGITS)]

    def assemble(
        self, rng: np.random.Generator, clips: Sequence[Sequence[int]], tokens_per_frame: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features `(B, V, D)` of clips that show the given digits, and their places.

        The places `(B, V)` count the visual tokens of a whole clip from 0.
        """
        features, places = [], []
        for digits in clips:
            for scene, digit in enumerate(digits):
                frame = int(rng.choice(self._members[digit]))
                patches = self._choose_patches(rng, frame, tokens_per_frame)
                features.append(self._features[frame][patches])
                places.append(torch.from_numpy(patches + scene * PATCHES_PER_FRAME))
        shape = (len(clips), -1)
        stacked = torch.stack(features).flatten(0, 1)
        return stacked.reshape(*shape, stacked.shape[-1]).float(), torch.cat(places).reshape(shape)

    def _choose_patches(
        self, rng: np.random.Generator, frame: int, count: int
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Choose patches of a frame in reading order, half of them on the digit if possible."""
        inked = np.flatnonzero(self._has_ink[frame])
        others = np.flatnonzero(~self._has_ink[frame])
        num_inked = max(min(len(inked), count // 2), count - len(others))
        chosen = [
            rng.choice(inked, num_inked, replace=False),
            rng.choice(others, count - num_inked, replace=False),
        ]
        return np.sort(np.concatenate(chosen))


@torch.no_grad()
def _encode(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Return the patch features `(N, P, D)` that the model would project, in bfloat16."""
    tower, layer = model.model.vision_tower, model.config.vision_feature_layer
    batches = [
        tower(normalize(batch), output_hidden_states=True).hidden_states[layer][:, 1:].bfloat16()
        for batch in pixels.split(ENCODING_BATCH_SIZE)
    ]
    return torch.cat(batches)


def train_language(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    library: FeatureLibrary,
    courses: Sequence[Course],
    seed: int,
    save: Callable[[], None],
) -> None:
    """Train projector and language model in place; the tower stays as it is.

    Args:
        model: The whole model, its tower trained.
        processor: Lays out what is learnt as it will lay out what is asked.
        library: Features to put clips together from.
        courses: What is taught, one after the other.
        seed: Decides clips and questions.
        save: Called every `SAVE_EVERY_STEPS`, so that a long run that is stopped leaves a model.
    """
    rng = np.random.default_rng(seed)
    layout = read_layout(processor)
    model.model.vision_tower.requires_grad_(False)
    scaffold = Scaffold(model.lm_head.in_features)
    parameters = [p for p in model.parameters() if p.requires_grad] + [*scaffold.parameters()]
    num_steps = sum(course.num_steps for course in courses)
    optimizer, schedule = _make_optimizer(parameters, num_steps)
    steps = chain.from_iterable(repeat(course, course.num_steps) for course in courses)
    for step, course in enumerate(steps, start=1):
        clips = [draw_clip(rng) for _ in range(course.clips_per_step)]
        packed = pack_lessons(
            processor.tokenizer, [course.teach(rng, layout, digits) for digits in clips]
        )
        features, places = library.assemble(rng, clips, course.tokens_per_frame)
        with torch.autocast("cpu", torch.bfloat16):
            answer_loss, scaffold_losses = compute_losses(
                model, scaffold, layout, clips, features, places, packed
            )
        (answer_loss + SCAFFOLD_WEIGHT * scaffold_losses.sum()).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % SAVE_EVERY_STEPS == 0:
            save()
        if step % LOG_EVERY_STEPS == 0:
            _log(course, step, num_steps, answer_loss.item(), scaffold_losses.tolist())


def _make_optimizer(
    parameters: list[nn.Parameter], num_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    """Return AdamW and its learning rate: up for 5 % of the steps, then down."""
    optimizer = torch.optim.AdamW(
        parameters, PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=num_steps, pct_start=0.05
    )
    return optimizer, schedule


def _log(
    course: Course, step: int, num_steps: int, answer_loss: float, scaffold_losses: list[float]
) -> None:
    logger.info(
        "%s %d/%d: loss of answers %.3f, of frame number, digit, preceding digit %s",
        course.teach.__name__,
        step,
        num_steps,
        answer_loss,
        " ".join(f"{loss:.3f}" for loss in scaffold_losses),
    )
