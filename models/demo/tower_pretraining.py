"""Stage 1: the vision tower learns to say, patch by patch, what is in the patch's cell.

Labels per patch instead of per frame keep a patch token's information local: empty cells say
"background". A compressed KV cache that drops the wrong tokens then really loses the digit, as it
would in a large model.
"""

import logging

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import CLIPVisionConfig, CLIPVisionModel

from encodeonce.datasets.demo.contents import NUM_DIGITS, NUM_PLACES
from encodeonce.models.demo.architecture import IMAGE_PX
from encodeonce.models.demo.data import Frames, normalize
from encodeonce.models.demo.patches import BACKGROUND, NO_COLOR, places_of_patches

logger = logging.getLogger(__name__)

BATCH_SIZE = 128
PEAK_LEARNING_RATE = 1.5e-3
LOG_EVERY_STEPS = 200
NOISE_LENGTH = 2 * BATCH_SIZE * 3 * IMAGE_PX**2


class PatchClassifier(nn.Module):
    """The tower with linear read-outs on its patch tokens; only the tower is kept."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(config)
        # PyTorch's fused kernel for processors is several times slower backwards.
        self.tower.set_attn_implementation("eager")
        self.norm = nn.LayerNorm(config.hidden_size)
        self.digit = nn.Linear(config.hidden_size, NUM_DIGITS + 1)
        self.color = nn.Linear(config.hidden_size, NO_COLOR + 1)
        self.place = nn.Linear(config.hidden_size, NUM_PLACES)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Map `(N, 3, H, W)` pixels to logits of digit, colour and place, each `(N, P, K)`."""
        hidden = self.norm(self.tower(pixels).last_hidden_state[:, 1:])
        return self.digit(hidden), self.color(hidden), self.place(hidden)


def train_tower(
    config: CLIPVisionConfig, frames: Frames, heldout: Frames, num_steps: int
) -> CLIPVisionModel:
    """Train a tower from nothing and returns it in float32.

    Args:
        config: Shape of the tower.
        frames: Frames to train on.
        heldout: Frames of images that are not trained on; only reported, nothing is chosen by it.
        num_steps: Number of optimiser steps.
    """
    classifier = PatchClassifier(config)
    optimizer = torch.optim.AdamW(classifier.parameters(), PEAK_LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=num_steps, pct_start=0.1
    )
    places = torch.from_numpy(places_of_patches()).expand(BATCH_SIZE, -1)
    noise = torch.randn(NOISE_LENGTH)
    for step in range(num_steps):
        chosen = torch.randint(len(frames.pixels), (BATCH_SIZE,))
        pixels = _augment(normalize(frames.pixels[chosen]), noise)
        with torch.autocast("cpu", torch.bfloat16):
            logits = classifier(pixels)
        targets = (frames.digits[chosen], frames.colors[chosen], places)
        losses = [
            cross_entropy(one.float().flatten(0, 1), target.flatten())
            for one, target in zip(logits, targets, strict=True)
        ]
        torch.stack(losses).sum().backward()
        nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if (step + 1) % LOG_EVERY_STEPS == 0:
            _log(classifier, heldout, step + 1, num_steps, [loss.item() for loss in losses])
    classifier.tower.set_attn_implementation("sdpa")
    return classifier.tower.eval()


def _augment(pixels: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Change contrast and add noise, anew each time a frame is used.

    The noise is a piece of a long array: to draw it anew costs as much as half the step.
    """
    start = int(torch.randint(len(noise) - pixels.numel() + 1, ()))
    # Laid out in memory as the pixels are, (N, H, W, 3): else their sum takes ten times as long.
    grain = noise[start : start + pixels.numel()].view(-1, IMAGE_PX, IMAGE_PX, 3)
    contrast = torch.empty(len(pixels), 1, 1, 1).uniform_(0.85, 1.15)
    strength = torch.empty(len(pixels), 1, 1, 1).uniform_(0.0, 0.06)
    return pixels * contrast + strength * grain.permute(0, 3, 1, 2)


@torch.no_grad()
def _log(
    classifier: PatchClassifier, frames: Frames, step: int, num_steps: int, losses: list[float]
) -> None:
    """Report the share of held-out digits whose patches name them, and of patches right in all."""
    classifier.eval()
    digits, colors, _ = classifier(normalize(frames.pixels))
    classifier.train()
    said, inked = digits.argmax(-1), frames.digits != BACKGROUND
    logger.info(
        "tower %d/%d: losses %s; held out: %.4f of patches with a digit, %.4f of empty ones, "
        "%.4f of colours",
        step,
        num_steps,
        " ".join(f"{loss:.4f}" for loss in losses),
        (said == frames.digits)[inked].float().mean(),
        (said == frames.digits)[~inked].float().mean(),
        (colors.argmax(-1) == frames.colors)[frames.colors != NO_COLOR].float().mean(),
    )
