"""Calibration prompts from a run's benchmarks, with their media's features from the store."""

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from encodeonce.cache_store.store import MissingFeatures
from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.harness.run.plan import MediaGroup, make_plan
from encodeonce.harness.workers.features import FeatureSource
from encodeonce.harness.workers.session import Workplace
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.quantization.making.calibration import Inputs
from encodeonce.models.quantization.making.make import Calibration
from encodeonce.models.timing import Stopwatch
from encodeonce.models.vision.visual import Visual


def run_calibration(config: RunConfig, num_prompts: int) -> Calibration:
    """Return prompts of a run's samples, spread over them, each with its right answer.

    Args:
        config: benchmarks, frames and store; the features must be there.
        num_prompts: at most so many.
    """
    plan = make_plan(config)
    asked = [
        (group, sample, prompt)
        for group in plan.groups
        for sample, prompt in zip(group.samples, group.prompts, strict=True)
    ]
    num_prompts = min(num_prompts, len(asked))
    # At random: every third sample may be of one kind.
    places = sorted(random.Random(0).sample(range(len(asked)), num_prompts))
    chosen = [asked[place] for place in places]
    return Calibration(
        description={
            "benchmarks": [spec.model_dump(mode="json") for spec in config.benchmarks],
            "frames": config.frames.model_dump(mode="json"),
            "vision": config.vision.model_dump(mode="json"),
            "samples_sha256": plan.samples_sha256,
            "num_prompts": num_prompts,
        },
        prompts=lambda decoder: _prompts(config, chosen, decoder),
        vision=config.vision,
    )


def _prompts(
    config: RunConfig, chosen: list[tuple[MediaGroup, Sample, str]], decoder: PrefixDecoder
) -> Iterator[Inputs]:
    workplace = Workplace(config)
    store, provenance = workplace.open_store(), workplace.provenance()
    with closing(FeatureSource(store, None, Stopwatch(), provenance)) as source:
        for group, sample, prompt in chosen:
            visuals = [_visual(workplace, source, group, ref) for ref in sample.media]
            yield decoder.whole_prompt(visuals, prompt, sample.target)


def _visual(workplace: Workplace, source: FeatureSource, group: MediaGroup, ref: Any) -> Visual:
    request = workplace.request(group.root, ref, group.benchmark)
    try:
        return source.visual(request)
    except MissingFeatures as error:
        raise ConfigError(
            f"calibration needs the features of {ref.path}, and {error}. Put them there: "
            "encodeonce precompute RUN.yaml"
        ) from error
