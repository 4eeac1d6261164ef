"""Stage 2: projector and language model learn to answer from the tower's features.

The features are computed once, of every picture in several places. Each step takes some of them,
and several questions on each picture share its visual tokens.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration

from encodeonce.datasets.sample import Sample
from encodeonce.models.easy_vqa.lessons import IGNORED_LABEL, Balance, Layout
from encodeonce.models.easy_vqa.pictures import Pictures
from encodeonce.models.easy_vqa.scaffold import Scaffold, facts_about
from encodeonce.models.easy_vqa.tower_pretraining import Album

logger = logging.getLogger(__name__)

ENCODING_BATCH_SIZE = 250
NUM_COPIES = 3
"""How often each picture is encoded, moved anew each time but the first."""
PICTURES_PER_STEP = 24
QUESTIONS_PER_PICTURE = 6
PEAK_LEARNING_RATE = 2e-3
SCAFFOLD_WEIGHT = 0.3
LOG_EVERY_STEPS = 50


@torch.no_grad()
def encode(model: LlavaForConditionalGeneration, album: Album) -> torch.Tensor:
    """Return the features that the model would project, `(NUM_COPIES, N, P, D)` in bfloat16."""
    tower, layer = model.model.vision_tower, model.config.vision_feature_layer
    copies = []
    for copy in range(NUM_COPIES):
        take = album.moved if copy else album.as_they_are
        batches = [
            tower(take(chosen).pixels, output_hidden_states=True).hidden_states[layer][:, 1:]
            for chosen in torch.arange(len(album)).split(ENCODING_BATCH_SIZE)
        ]
        copies.append(torch.cat([batch.bfloat16() for batch in batches]))
    return torch.stack(copies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the model makes of some questions. Q questions, A tokens of answers.

    Attributes:
        losses: the cross-entropy of each token of an answer, nats, `(A,)`.
        numbers: which question each of them answers, `(A,)`.
        first_layer: hidden states of the token before each answer, `(Q, D)`.
    """

    losses: torch.Tensor
    numbers: torch.Tensor
    first_layer: torch.Tensor


def read_answers(
    model: LlavaForConditionalGeneration,
    layout: Layout,
    features: torch.Tensor,
    asked: Sequence[Sequence[Sample]],
) -> Reading:
    """Run the model over pictures, their questions and the answers, teacher-forced.

    Args:
        model: The whole model; its tower is not run.
        layout: How pictures and questions are laid out.
        features: Of B pictures, `(B, P, D)`.
        asked: The questions on each of them; they are numbered picture by picture.
    """
    packed = layout.pack(asked)
    embed = model.get_input_embeddings()
    before = embed(layout.before)
    visual = model.model.multi_modal_projector(features).to(before.dtype)
    prefix = torch.cat([before.expand(len(visual), -1, -1), visual], 1)
    length = prefix.shape[1]
    in_prefix = torch.arange(length).expand(len(prefix), -1)
    outputs = model.model.language_model(
        inputs_embeds=torch.cat([prefix, embed(packed.ids)], 1),
        attention_mask=packed.mask(length),
        position_ids=torch.cat([in_prefix, packed.offsets + length], 1),
        use_cache=False,
        output_hidden_states=True,
    )
    is_answer = packed.labels != IGNORED_LABEL
    logits = model.lm_head(outputs.last_hidden_state[:, length:][is_answer])
    begins = is_answer & ~is_answer.roll(1, dims=1)
    return Reading(
        losses=cross_entropy(logits.float(), packed.labels[is_answer], reduction="none"),
        numbers=begins.flatten().cumsum(0)[is_answer.flatten()] - 1,
        first_layer=outputs.hidden_states[1][:, length:][begins],
    )


def train_language(
    model: LlavaForConditionalGeneration,
    layout: Layout,
    features: torch.Tensor,
    pictures: Pictures,
    num_steps: int,
    seed: int,
) -> None:
    """Train projector and language model in place; the tower stays as it is.

    Args:
        model: The whole model, its tower trained.
        layout: Lays out what is learnt as it will be asked.
        features: Of the pictures, `(copies, N, P, D)`.
        pictures: The N pictures, with the questions on each.
        num_steps: Number of optimiser steps.
        seed: Decides which pictures and questions each step takes.
    """
    rng = random.Random(seed)
    balance = Balance(pictures.samples)
    model.model.vision_tower.requires_grad_(False)
    scaffold = Scaffold(model.lm_head.in_features)
    parameters = [p for p in model.parameters() if p.requires_grad] + [*scaffold.parameters()]
    optimizer = torch.optim.AdamW(parameters, PEAK_LEARNING_RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=num_steps, pct_start=0.05
    )
    for step in range(1, num_steps + 1):
        chosen = rng.sample(range(len(pictures.samples)), PICTURES_PER_STEP)
        copies = rng.choices(range(len(features)), k=len(chosen))
        asked = [_draw(rng, pictures.samples[number]) for number in chosen]
        with torch.autocast("cpu", torch.bfloat16):
            reading = read_answers(model, layout, features[copies, chosen].float(), asked)
        weights = torch.tensor([balance.weight(sample) for row in asked for sample in row])
        answer_loss = _weighted(reading.losses, weights[reading.numbers])
        questions = [
            (number, sample.question)
            for number, row in zip(chosen, asked, strict=True)
            for sample in row
        ]
        scaffold_loss = scaffold(reading.first_layer, facts_about(pictures, questions))
        (answer_loss + SCAFFOLD_WEIGHT * scaffold_loss).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % LOG_EVERY_STEPS == 0:
            logger.info(
                "language %d/%d: loss of answers %.4f, of the scaffold %.4f",
                step, num_steps, answer_loss.item(), scaffold_loss.item(),
            )  # fmt: skip


def _draw(rng: random.Random, samples: Sequence[Sample]) -> list[Sample]:
    return rng.sample(samples, min(QUESTIONS_PER_PICTURE, len(samples)))


def _weighted(losses: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (losses * weights).sum() / weights.sum()
