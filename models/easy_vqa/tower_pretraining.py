"""Stage 1: the vision tower learns to say, patch by patch, which shape and colour it sees.

Labels per patch instead of per picture keep what a patch's token knows local: those beside the
shape say that there is nothing. A compressed KV cache that drops the wrong tokens then loses it.
"""

import logging
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy
from transformers import CLIPVisionConfig, CLIPVisionModel

from encodeonce.datasets.benchmarks.easy_vqa import COLOURS, SHAPES
from encodeonce.models.easy_vqa.architecture import IMAGE_PX, PATCH_PX
from encodeonce.models.easy_vqa.pictures import Pictures

logger = logging.getLogger(__name__)

BATCH_SIZE = 64
PEAK_LEARNING_RATE = 2e-3
LOG_EVERY_STEPS = 200
# A patch shows the shape when this share of it is ink; below, edges and tips say too little.
MIN_INK_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Pictures, moved and mirrored, and the labels of their patches. B pictures of P patches.

    Attributes:
        pixels: `(B, 3, IMAGE_PX, IMAGE_PX)`, as the tower takes them.
        shapes: `(B, P)`, positions in `SHAPES`, `len(SHAPES)` where there is nothing, or `UNKNOWN`.
        colours: likewise.
    """

    pixels: torch.Tensor
    shapes: torch.Tensor
    colours: torch.Tensor


class Album:
    """Pictures whose one shape may stand anywhere: around it there is one colour only."""

    def __init__(self, pictures: Pictures) -> None:
        """Find how far each shape may be moved."""
        self._pictures = pictures
        self._ink = pictures.ink()
        rows, columns = self._ink.any(2), self._ink.any(1)
        self._margins = [_margins(line) for line in (rows, columns)]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._ink)

    def as_they_are(self, chosen: torch.Tensor) -> Batch:
        """Return pictures by their numbers."""
        return self._batch(chosen, self._pictures.pixels[chosen], self._ink[chosen])

    def moved(self, chosen: torch.Tensor) -> Batch:
        """Return pictures by their numbers, each moved within its frame and perhaps mirrored."""
        indices = []
        for before, after in self._margins:
            low, high = -before[chosen], after[chosen]
            steps = low + (torch.rand(len(chosen)) * (high - low + 1)).long()
            indices.append((torch.arange(IMAGE_PX) - steps[:, None]) % IMAGE_PX)
        rows, columns = indices
        is_mirrored = torch.rand(len(chosen)) < 0.5
        columns[is_mirrored] = columns[is_mirrored].flip(1)
        where = (chosen[:, None, None], rows[:, :, None], columns[:, None, :])
        return self._batch(chosen, self._pictures.pixels[where], self._ink[where])

    def _batch(self, chosen: torch.Tensor, pixels: torch.Tensor, ink: torch.Tensor) -> Batch:
        is_shown = avg_pool2d(ink[:, None].float(), PATCH_PX).flatten(1) > MIN_INK_SHARE
        labels = [
            torch.where(is_shown, known[chosen, None], nothing)
            for known, nothing in (
                (self._pictures.shapes, len(SHAPES)),
                (self._pictures.colours, len(COLOURS)),
            )
        ]
        return Batch(pixels=normalize(pixels), shapes=labels[0], colours=labels[1])


def _margins(is_inked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how many lines are free before and after the ink, `(N,)` each."""
    return is_inked.int().argmax(1), is_inked.flip(1).int().argmax(1)


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """Turn `(B, H, W, 3)` uint8 into the tower's `(B, 3, H, W)` input, as the processor does."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


class PatchClassifier(nn.Module):
    """The tower with linear read-outs on its patch tokens; only the tower is kept."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(config)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.shape = nn.Linear(config.hidden_size, len(SHAPES) + 1)
        self.colour = nn.Linear(config.hidden_size, len(COLOURS) + 1)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map `(B, 3, H, W)` pixels to logits of shapes and of colours, `(B, P, classes)`."""
        hidden = self.norm(self.tower(pixels).last_hidden_state[:, 1:])
        return self.shape(hidden), self.colour(hidden)


def train_tower(config: CLIPVisionConfig, album: Album, num_steps: int) -> CLIPVisionModel:
    """Train a tower from nothing and return it in float32.

    Args:
        config: Shape of the tower.
        album: Pictures to train on.
        num_steps: Number of optimiser steps.
    """
    classifier = PatchClassifier(config)
    optimizer = torch.optim.AdamW(classifier.parameters(), PEAK_LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=num_steps, pct_start=0.1
    )
    for step in range(1, num_steps + 1):
        batch = album.moved(torch.randint(len(album), (BATCH_SIZE,)))
        with torch.autocast("cpu", torch.bfloat16):
            shapes, colours = classifier(batch.pixels)
        losses = [
            cross_entropy(logits.float().flatten(0, 1), labels.flatten())
            for logits, labels in ((shapes, batch.shapes), (colours, batch.colours))
        ]
        (losses[0] + losses[1]).backward()
        nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % LOG_EVERY_STEPS == 0:
            logger.info(
                "tower %d/%d: loss of shapes %.4f, of colours %.4f",
                step, num_steps, losses[0].item(), losses[1].item(),
            )  # fmt: skip
    return classifier.tower.eval()
