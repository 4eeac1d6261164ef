"""Makes calibration prompts of a run: its samples, with their media's features from the store."""

import random
from collections.abc import Iterator

from encodeonce.cache_store.store import MissingFeatures
from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.harness.run.plan import MediaGroup, make_plan
from encodeonce.harness.workers.session import Session
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.quantization.making.calibration import Inputs
from encodeonce.models.quantization.making.make import Calibration
from encodeonce.models.vision.visual import Visual


def run_calibration(config: RunConfig, num_prompts: int) -> Calibration:
    """Return prompts from samples spread over a run, each with its right answer.

    Args:
        config: benchmarks, frames and store, which must hold the features.
        num_prompts: most prompts to make.
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
    with Session(config, on_miss="error") as session:
        for group, sample, prompt in chosen:
            visuals = [_visual(session, group, ref) for ref in sample.media]
            yield decoder.whole_prompt(visuals, prompt, sample.target)


def _visual(session: Session, group: MediaGroup, ref: MediaRef) -> Visual:
    request = session.look_up(group.root, ref, group.benchmark)
    try:
        return session.visual(request)
    except MissingFeatures as error:
        raise ConfigError(
            f"calibration needs the features of {ref.path}, and {error}. Put them there: "
            "encodeonce precompute RUN.yaml"
        ) from error
