"""Stage 2: projector and language model learn to read the clip out of the visual tokens.

The tower's features are computed once. Each step lays some of them out as clips, and asks many
questions about each in one pass.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat

import numpy as np
import torch
from torch import nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from encodeonce.datasets.demo.contents import COLORS, NUM_PLACES, NUM_SCENES, Contents, draw_colors
from encodeonce.datasets.demo.questions import KINDS, is_askable
from encodeonce.models.demo.architecture import PATCHES_PER_FRAME
from encodeonce.models.demo.data import Frames, normalize
from encodeonce.models.demo.language_loss import Scaffold, compute_losses, scaffold_targets
from encodeonce.models.demo.lessons import (
    Layout,
    Lesson,
    forms_of,
    make_drill,
    make_lesson,
    read_layout,
)
from encodeonce.models.demo.packed_attention import NAME as PACKED_ATTENTION
from encodeonce.models.demo.packing import pack_lessons
from encodeonce.models.demo.patches import PATCHES_PER_CELL_SIDE, places_of_patches

logger = logging.getLogger(__name__)

ENCODING_BATCH_SIZE = 500
PEAK_LEARNING_RATE = 1e-3
WARM_UP_STEPS = 100
LOG_EVERY_STEPS = 50
SAVE_EVERY_STEPS = 100
SCAFFOLD_WEIGHT = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Some steps in which one thing is taught."""

    num_steps: int
    num_drills: int
    """Bare questions of each kind about a clip."""
    num_lessons: int
    """The benchmark's own questions of each kind and form about a clip."""
    tokens_per_cell: int
    """Visual tokens shown of each place of each frame, at their own positions."""
    clips_per_step: int
    evict: bool = False
    """Whether answers must do with a part of the clip's keys and values."""


# Bare questions on one token of each place are the fastest way to the skill (400 answers a second
# on one core; all tokens and the benchmark's own questions: 70). Only the last courses show
# every visual token, as the model will be asked.
COURSES = (
    Course(num_steps=600, num_drills=5, num_lessons=0, tokens_per_cell=1, clips_per_step=8),
    Course(num_steps=500, num_drills=1, num_lessons=1, tokens_per_cell=1, clips_per_step=8),
    Course(num_steps=400, num_drills=0, num_lessons=1, tokens_per_cell=4, clips_per_step=5),
    Course(
        num_steps=300,
        num_drills=0,
        num_lessons=1,
        tokens_per_cell=4,
        clips_per_step=5,
        evict=True,
    ),
)


class FeatureLibrary:
    """The tower's features of many frames, found by what tile they have.

    The tower sees one frame at a time, so any frames together make a new clip.
    """

    def __init__(
        self, model: LlavaForConditionalGeneration, frames: Frames, num_frames: int
    ) -> None:
        """Encode the first `num_frames` of the frames."""
        self._features = _encode(model, frames.pixels[:num_frames])
        self._contents = frames.contents[:num_frames]
        self._members: dict[str | None, list[int]] = {color: [] for color in (None, *COLORS)}
        for index, shown in enumerate(self._contents):
            self._members[shown.tile.color if shown.tile else None].append(index)
        places = places_of_patches()
        self._patches = np.stack([np.flatnonzero(places == n) for n in range(NUM_PLACES)])

    def draw_clip(self, rng: np.random.Generator) -> tuple[list[int], list[Contents]]:
        """Draw the frames of a clip, and return them with what they show."""
        while True:
            members = [self._members[color] for color in draw_colors(rng)]
            chosen = [some[rng.integers(len(some))] for some in members]
            scenes = [self._contents[index] for index in chosen]
            if is_askable(scenes):
                return chosen, scenes

    def features(
        self, rng: np.random.Generator, clips: Sequence[Sequence[int]], tokens_per_cell: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features `(B, V, D)` of some visual tokens of clips, and which they are.

        The places `(B, V)` count the visual tokens of a whole clip from 0.
        """
        per_cell = PATCHES_PER_CELL_SIDE**2
        noise = rng.random((len(clips), NUM_SCENES, NUM_PLACES, per_cell))
        picked = noise.argsort(-1)[..., :tokens_per_cell]
        patches = np.take_along_axis(
            np.broadcast_to(self._patches, noise.shape), picked, axis=-1
        ).reshape(len(clips), NUM_SCENES, -1)
        patches.sort(axis=-1)
        frames = torch.tensor(clips)[:, :, None]
        features = self._features[frames, torch.from_numpy(patches)].flatten(1, 2).float()
        places = patches + np.arange(NUM_SCENES)[:, None] * PATCHES_PER_FRAME
        return features, torch.from_numpy(places.reshape(len(clips), -1))


@torch.no_grad()
def _encode(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Return the patch features `(N, P, D)` that the model would project, in bfloat16."""
    tower, layer = model.model.vision_tower, model.config.vision_feature_layer
    batches = [
        tower(normalize(batch), output_hidden_states=True).hidden_states[layer][:, 1:].bfloat16()
        for batch in pixels.split(ENCODING_BATCH_SIZE)
    ]
    return torch.cat(batches)


def teach(
    rng: np.random.Generator, layout: Layout, scenes: Sequence[Contents], course: Course
) -> list[Lesson]:
    """Return a course's lessons about a clip."""
    drills = [
        make_drill(rng, layout, scenes, kind) for kind in KINDS for _ in range(course.num_drills)
    ]
    lessons = [
        make_lesson(rng, layout, scenes, kind, form)
        for kind in KINDS
        for form in forms_of(kind)
        for _ in range(course.num_lessons)
    ]
    return [*drills, *lessons]


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
    model.model.language_model.config._attn_implementation = PACKED_ATTENTION
    scaffold = Scaffold(model.lm_head.in_features)
    parameters = [p for p in model.parameters() if p.requires_grad] + [*scaffold.parameters()]
    num_steps = sum(course.num_steps for course in courses)
    optimizers = _make_optimizers(model, scaffold)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(one, partial(_rate, num_steps)) for one in optimizers
    ]
    steps = chain.from_iterable(repeat(course, course.num_steps) for course in courses)
    for step, course in enumerate(steps, start=1):
        clips = [library.draw_clip(rng) for _ in range(course.clips_per_step)]
        packed = pack_lessons(
            processor.tokenizer, [teach(rng, layout, scenes, course) for _, scenes in clips]
        )
        features, chosen = library.features(
            rng, [frames for frames, _ in clips], course.tokens_per_cell
        )
        targets = scaffold_targets([scenes for _, scenes in clips])
        with torch.autocast("cpu", torch.bfloat16):
            answer_loss, scaffold_losses = compute_losses(
                model, scaffold, layout, features, chosen, targets, packed, course.evict
            )
        (answer_loss + SCAFFOLD_WEIGHT * scaffold_losses.sum()).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if step % SAVE_EVERY_STEPS == 0:
            save()
        if step % LOG_EVERY_STEPS == 0:
            logger.info(
                "%d/%d: loss of answers %.3f; of frame, rank in its scene and at its place, "
                "of looking at the next and at all evidence, of choosing, of tracking: %s",
                step,
                num_steps,
                answer_loss.item(),
                " ".join(f"{loss:.3f}" for loss in scaffold_losses.tolist()),
            )


def _make_optimizers(
    model: LlavaForConditionalGeneration, scaffold: Scaffold
) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the language model's layers, AdamW for all else.

    Muon: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    """
    matrices = [p for p in model.model.language_model.layers.parameters() if p.ndim == 2]
    among = {id(p) for p in matrices}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in among]
    return [
        torch.optim.Muon(
            matrices, PEAK_LEARNING_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            [*others, *scaffold.parameters()],
            PEAK_LEARNING_RATE,
            betas=(0.9, 0.98),
            weight_decay=0.01,
        ),
    ]


def _rate(num_steps: int, step: int) -> float:
    """Return the share of the peak learning rate at a step: up in 100 steps, down in a cosine."""
    falling = 0.5 * (1 + math.cos(math.pi * step / num_steps))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (0.02 + 0.98 * falling)
