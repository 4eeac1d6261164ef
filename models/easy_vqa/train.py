"""Train the easy-VQA model from nothing and write its checkpoint.

Run as `python -m encodeonce.models.easy_vqa.train`, with the package `easy-vqa` installed. Two
stages: the vision tower alone as a classifier of patches, then projector and language model on
features that the tower has computed once. Only the train split is read.
"""

import argparse
import logging
from pathlib import Path

import torch
from transformers import CLIPVisionConfig, LlavaForConditionalGeneration

from encodeonce.datasets.benchmarks.easy_vqa import BENCHMARK
from encodeonce.datasets.sample import BenchmarkError
from encodeonce.models.checkpoint.hub_names import rename_tower
from encodeonce.models.easy_vqa.architecture import (
    make_config,
    make_generation_config,
    make_processor,
    train_tokenizer,
)
from encodeonce.models.easy_vqa.language_training import encode, train_language
from encodeonce.models.easy_vqa.lessons import Layout, iterate_texts
from encodeonce.models.easy_vqa.pictures import Pictures, load_pictures
from encodeonce.models.easy_vqa.tower_pretraining import Album, train_tower

logger = logging.getLogger(__name__)


def train(
    output: Path, pictures: Pictures, tower_steps: int, language_steps: int, seed: int
) -> None:
    """Run both stages and write model, tokenizer, processor and generation settings.

    Args:
        output: Folder of the finished checkpoint.
        pictures: To train on.
        tower_steps: Optimiser steps of the first stage.
        language_steps: Optimiser steps of the second.
        seed: Decides all random draws. Sums over threads still differ between machines, so the
            weights are alike from run to run, not the same.
    """
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(iterate_texts(pictures.samples))
    processor = make_processor(tokenizer)
    config = make_config(tokenizer)
    assert isinstance(config.vision_config, CLIPVisionConfig)
    model = LlavaForConditionalGeneration(config)
    model.generation_config = make_generation_config(tokenizer)
    logger.info("%d parameters", sum(p.numel() for p in model.parameters()))

    album = Album(pictures)
    tower = train_tower(config.vision_config, album, tower_steps)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    features = encode(model, album)
    train_language(model, Layout(processor), features, pictures, language_steps, seed)
    model.save_pretrained(output)
    rename_tower(output)
    processor.save_pretrained(output)
    logger.info("wrote %s", output)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build/easy-vqa/model"))
    parser.add_argument("--folder", type=Path, help="train/ and test/, if not the package's")
    parser.add_argument("--tower-steps", type=int, default=800)
    parser.add_argument("--language-steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    try:
        pictures = load_pictures(BENCHMARK(folder=options.folder, split="train"))
    except BenchmarkError as error:
        parser.error(str(error))
    train(options.output, pictures, options.tower_steps, options.language_steps, options.seed)


if __name__ == "__main__":
    main()
