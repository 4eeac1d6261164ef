"""Train the demo model from nothing and writes its checkpoint.

Run as `python -m encodeonce.models.demo.train`. Two stages, because end-to-end training from
nothing does not learn in hours: first the vision tower alone as a classifier, then projector and
language model on features that the tower has computed once.
"""

import argparse
import logging
from pathlib import Path

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, LlavaForConditionalGeneration

from encodeonce.models.checkpoint.hub_names import rename_tower
from encodeonce.models.demo.architecture import (
    make_config,
    make_generation_config,
    make_processor,
    train_tokenizer,
)
from encodeonce.models.demo.data import Frames, draw_frames
from encodeonce.models.demo.language_training import COURSES, FeatureLibrary, train_language
from encodeonce.models.demo.lessons import iterate_texts
from encodeonce.models.demo.tower_pretraining import train_tower

logger = logging.getLogger(__name__)

NUM_FRAMES = 40_000
NUM_HELDOUT_FRAMES = 2_000
NUM_LIBRARY_FRAMES = 12_000
TOWER_FOLDER = "tower"


def obtain_tower(
    config: CLIPVisionConfig, frames: Frames, work: Path, num_steps: int, seed: int
) -> CLIPVisionModel:
    """Train the tower, or takes the one that an earlier run left in the work folder."""
    folder = work / TOWER_FOLDER
    if folder.exists():
        logger.info("taking the trained tower from %s; delete it to train anew", folder)
        return CLIPVisionModel.from_pretrained(folder).eval()
    heldout = draw_frames(NUM_HELDOUT_FRAMES, "heldout", seed + 1)
    tower = train_tower(config, frames, heldout, num_steps)
    tower.save_pretrained(folder)
    return tower


def train(output: Path, work: Path, tower_steps: int, seed: int) -> None:
    """Run both stages and writes model, tokenizer, processor and generation settings.

    Args:
        output: Folder of the finished checkpoint.
        work: Folder for what an interrupted run can go on from.
        tower_steps: Optimiser steps of the first stage.
        seed: Decides all random draws. Sums over threads still differ between machines, so the
            weights are alike from run to run, not the same.
    """
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(iterate_texts(seed))
    processor = make_processor(tokenizer)
    config = make_config(tokenizer)
    assert isinstance(config.vision_config, CLIPVisionConfig)
    model = LlavaForConditionalGeneration(config)
    model.generation_config = make_generation_config(tokenizer)
    logger.info("%d parameters", sum(p.numel() for p in model.parameters()))

    frames = draw_frames(NUM_FRAMES, "train", seed)
    tower = obtain_tower(config.vision_config, frames, work, tower_steps, seed)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    library = FeatureLibrary(model, frames, NUM_LIBRARY_FRAMES)

    def save() -> None:
        model.save_pretrained(output)
        rename_tower(output)
        processor.save_pretrained(output)

    train_language(model, processor, library, COURSES, seed, save)
    save()
    logger.info("wrote %s", output)


def main() -> None:
    """Read the command line and trains."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "checkpoint")
    parser.add_argument("--work", type=Path, default=Path("build/demo-model"))
    parser.add_argument("--tower-steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    train(options.output, options.work, options.tower_steps, options.seed)


if __name__ == "__main__":
    main()
