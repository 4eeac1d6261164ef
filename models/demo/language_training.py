"""Stage 2: projector and language model learn to read the clip out of the visual tokens.

The tower's features are computed once. Each step lays some of them out as clips, prefills the
visual prefix once, and asks several questions of the same keys and values.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, repeat

import numpy as np
import torch
from torch import nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from encodeonce.models.demo.data import NUM_DIGITS, Frames, normalize
from encodeonce.models.demo.language_loss import Scaffold, compute_losses
from encodeonce.models.demo.lessons import (
    Layout,
    Lesson,
    draw_clip,
    pack_lessons,
    read_layout,
    teach_drills,
    teach_questions,
    teach_transcripts,
)

logger = logging.getLogger(__name__)

CLIPS_PER_STEP = 8
ENCODING_BATCH_SIZE = 500
PEAK_LEARNING_RATE = 1e-3
# Single questions alone stay at chance: the model must find the frames first, and learns what a
# question means from many answers per clip. Each course takes this share of the steps.
Course = Callable[[np.random.Generator, Layout, Sequence[int]], list[Lesson]]
COURSES: tuple[tuple[Course, float], ...] = (
    (teach_transcripts, 0.1),
    (teach_drills, 0.4),
    (teach_questions, 0.5),
)
# Until this share of the steps, only some random visual tokens are shown, at their own positions:
# steps cost a third, and a digit covers enough tokens to be seen.
THINNED_SHARE = 0.7
THINNED_TOKEN_SHARE = 0.33
LOG_EVERY_STEPS = 50
SAVE_EVERY_STEPS = 250
SCAFFOLD_WEIGHT = 0.3


class FeatureLibrary:
    """The tower's features of many frames, found by digit.

    The tower sees one frame at a time, so any frames together make a new clip.
    """

    def __init__(
        self, model: LlavaForConditionalGeneration, frames: Frames, num_frames: int
    ) -> None:
        """Encodes the first `num_frames` of the frames."""
        digits = frames.digits[:num_frames]
        self._features = _encode(model, frames.pixels[:num_frames])
        self._members = [torch.nonzero(digits == digit)[:, 0] for digit in range(NUM_DIGITS)]

    def assemble(self, rng: np.random.Generator, clips: Sequence[Sequence[int]]) -> torch.Tensor:
        """Returns features `(B, T * P, D)` of clips that show the given digits."""
        chosen = [
            self._members[digit][rng.integers(len(self._members[digit]))]
            for digits in clips
            for digit in digits
        ]
        features = self._features[torch.stack(chosen)]
        return features.reshape(len(clips), -1, features.shape[-1]).float()


@torch.no_grad()
def _encode(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Returns the patch features `(N, P, D)` that the model would project, in bfloat16."""
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
    num_steps: int,
    seed: int,
    save: Callable[[], None],
) -> None:
    """Trains projector and language model in place; the tower stays as it is.

    Args:
        model: The whole model, its tower trained.
        processor: Lays out what is learnt as it will lay out what is asked.
        library: Features to put clips together from.
        num_steps: Optimiser steps of all courses together.
        seed: Decides clips and questions.
        save: Called every `SAVE_EVERY_STEPS`, so that a long run that is stopped leaves a model.
    """
    rng = np.random.default_rng(seed)
    layout = read_layout(processor)
    model.model.vision_tower.requires_grad_(False)
    scaffold = Scaffold(model.config.text_config.hidden_size)
    parameters = [p for p in model.parameters() if p.requires_grad] + [*scaffold.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=num_steps, pct_start=0.05
    )
    for step, course in enumerate(_plan_courses(num_steps)):
        clips = [draw_clip(rng) for _ in range(CLIPS_PER_STEP)]
        lessons = [course(rng, layout, digits) for digits in clips]
        packed = pack_lessons(processor.tokenizer, lessons)
        features = library.assemble(rng, clips)
        token_share = THINNED_TOKEN_SHARE if step < num_steps * THINNED_SHARE else 1.0
        with torch.autocast("cpu", torch.bfloat16):
            answer_loss, scaffold_losses = compute_losses(
                model, scaffold, layout, clips, features, packed, token_share
            )
        (answer_loss + SCAFFOLD_WEIGHT * scaffold_losses.sum()).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if (step + 1) % SAVE_EVERY_STEPS == 0:
            save()
        if (step + 1) % LOG_EVERY_STEPS == 0:
            logger.info(
                "%s %d/%d: loss of answers %.3f, of frame number, digit, preceding digit %s",
                course.__name__,
                step + 1,
                num_steps,
                answer_loss.item(),
                " ".join(f"{loss:.3f}" for loss in scaffold_losses.tolist()),
            )


def _plan_courses(num_steps: int) -> Iterator[Course]:
    """Yields the course of each step."""
    ends = accumulate(share for _, share in COURSES)
    begin = 0
    for (course, _), end in zip(COURSES, ends, strict=True):
        yield from repeat(course, round(num_steps * end) - begin)
        begin = round(num_steps * end)
