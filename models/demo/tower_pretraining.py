"""Stage 1: the vision tower learns to say, patch by patch, which digit it sees.

Labels per patch instead of per frame keep a patch token's information local: patches of the
photograph say "background". A compressed KV cache that drops the wrong tokens then really loses
the digit, as it would in a large model.
"""

import logging

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from encodeonce.models.demo.data import BACKGROUND, NUM_DIGITS, Frames, normalize

logger = logging.getLogger(__name__)

BATCH_SIZE = 128
PEAK_LEARNING_RATE = 1.5e-3
LOG_EVERY_STEPS = 200


class PatchClassifier(nn.Module):
    """The tower with a linear read-out on its patch tokens; only the tower is kept."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(config)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.readout = nn.Linear(config.hidden_size, NUM_DIGITS + 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map `(N, 3, H, W)` pixels to `(N, P, NUM_DIGITS + 1)` logits."""
        return self.readout(self.norm(self.tower(pixels).last_hidden_state[:, 1:]))


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
    for step in range(num_steps):
        chosen = torch.randint(len(frames.digits), (BATCH_SIZE,))
        pixels = _augment(normalize(frames.pixels[chosen]))
        with torch.autocast("cpu", torch.bfloat16):
            logits = classifier(pixels)
        loss = nn.functional.cross_entropy(
            logits.float().flatten(0, 1), frames.patches[chosen].flatten()
        )
        loss.backward()
        nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if (step + 1) % LOG_EVERY_STEPS == 0:
            share = _share_right(classifier, heldout)
            logger.info(
                "tower %d/%d loss %.4f held-out %.4f", step + 1, num_steps, loss.item(), share
            )
    return classifier.tower.eval()


def _augment(pixels: torch.Tensor) -> torch.Tensor:
    """Change contrast and adds noise, anew each time a frame is used."""
    contrast = torch.empty(len(pixels), 1, 1, 1).uniform_(0.85, 1.15)
    noise = torch.empty(len(pixels), 1, 1, 1).uniform_(0.0, 0.06)
    return pixels * contrast + noise * torch.randn_like(pixels)


@torch.no_grad()
def _share_right(classifier: PatchClassifier, frames: Frames) -> float:
    """Return the share of frames whose patches vote for the digit that is shown."""
    classifier.eval()
    logits = classifier(normalize(frames.pixels))
    classifier.train()
    votes = logits.softmax(-1)[..., :BACKGROUND].sum(1)
    return (votes.argmax(-1) == frames.digits).float().mean().item()
